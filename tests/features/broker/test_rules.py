"""Use rules: which are valid, which requests they include, and what they make of a value."""

import json
from base64 import b64decode
from typing import Any

import pytest

from tests.features.broker.conftest import RULE, VALUE
from vault.features.broker import rules
from vault.features.broker.errors import UnusableValueError
from vault.features.broker.rules import Target, UseRule, best

RULED = UseRule.of(RULE)


@pytest.mark.parametrize(
    "host",
    [
        *("api.stripe.com", "API.Stripe.com", "a", "localhost", "x--y.example", "api.example.com:8443"),
        *("127.0.0.1", "127.0.0.1:8080", "[::1]", "[::1]:8443", "xn--mller-kva.example"),
    ],
)
def test_a_name_or_this_machine_is_a_host(host: str) -> None:
    """A host is an exact name or an address of this machine, with a port or without."""
    assert rules.host_flaw(host) == ""


@pytest.mark.parametrize(
    "host",
    [
        *("", ".", "a.", "api.stripe.com.", ".com", "a..b", "*.stripe.com", "-a.com", "a-.com", "a_b.com"),
        *("10.0.0.1", "169.254.169.254", "1", "0x7f.1", "0177.0.0.1", "127.1", "0x7f000001", "2130706433"),
        *("[::2]", "::1", "[::ffff:127.0.0.1]", "[::1", "[fe80::1]"),
        *("a:0", "a:65536", "a:080", "a:", "a:b", "a:99999", "user@a", "a/b", "a b", "a\n", "ä.com", "a%2eb"),
        *("a" * 64, f"{'a.' * 127}ab"),
    ],
)
def test_anything_else_is_no_host(host: str) -> None:
    """A wildcard, an address elsewhere in any form, a trailing dot or another text is no host."""
    assert rules.host_flaw(host)


@pytest.mark.parametrize(
    "path", ["/", "/v1/a", "/v1/a/", "/a//b", "/a;x=1", "/a%20b", "/~x/$&'()*+,=:@!", "/..a"]
)
def test_a_plain_path_is_valid(path: str) -> None:
    """A path has what URLs have in one, from its first slash on."""
    assert rules.path_flaw(path) == ""


@pytest.mark.parametrize(
    "path",
    [
        *(
            "",
            "v1",
            "*",
            "http://a/",
            "//evil.com/x",
            "/a?b",
            "/a#b",
            "/a b",
            "/a\\b",
            "/ä",
            "/a\n",
            "/%",
            "/%2",
        ),
        *("/.", "/..", "/a/../b", "/a/./b", "/a/..", "/a/..;x/b", "/.;/b"),
        *(
            "/a%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/a%5C",
            "/a%00",
            "/%2e%2e/b",
            "/%2E/b",
            "/%61",
            "/%7E",
            "/%2d",
            "/%zz",
        ),
    ],
)
def test_a_path_that_servers_may_read_as_another_is_refused(path: str) -> None:
    """Dot segments, queries, escaped slashes, backslashes, NULs and plain characters are refused."""
    assert rules.path_flaw(path)


@pytest.mark.parametrize(
    "header",
    [
        *("Connection", "keep-alive", "Proxy-Authorization", "proxy-authenticate", "Proxy-Connection", "TE"),
        *(
            "Trailer",
            "Transfer-Encoding",
            "Content_Length",
            "UPGRADE",
            "host",
            "Content-Length",
            "Cookie",
            "",
            "a b",
            "a:",
            "ä",
            "a\n",
        ),
    ],
)
def test_headers_of_a_connection_are_refused(header: str) -> None:
    """No rule sets a header of the connection, of the request's length or host, or the cookies."""
    assert rules.header_flaw(header)
    assert rules.header_flaw("X-Api-Key") == ""


@pytest.mark.parametrize(
    "text", ["", "Bearer", "{}{}", "{", "}", "{{}}", "}{", " {}", "{} ", "{}\n", "ä {}", "\t{}"]
)
def test_a_format_has_one_place(text: str) -> None:
    """A format has one place for the value, or for a field of it."""
    assert rules.format_flaw(text)
    assert not any(map(rules.format_flaw, ("{}", "Bearer {}", "token={api.key}, v=1")))


@pytest.mark.parametrize(
    ("host", "method", "path", "length"),
    [
        ("api.stripe.com", "POST", "/v1/charges", 11),
        ("api.stripe.com", "GET", "/v1/refunds/", 12),
        ("api.stripe.com", "GET", "/v1/refunds/a/b", 12),
        ("api.stripe.com", "GET", "/v1/refunds", 0),
        ("api.stripe.com", "POST", "/v1/charges/1", 0),
        ("api.stripe.com", "POST", "/V1/charges", 0),
        ("api.stripe.com", "DELETE", "/v1/charges", 0),
        ("api.stripe.com:8443", "POST", "/v1/charges", 0),
        ("stripe.com", "POST", "/v1/charges", 0),
    ],
)
def test_a_rule_includes_its_hosts_methods_and_paths_alone(
    host: str, method: str, path: str, length: int
) -> None:
    """A rule includes a request by host, method and path together, and its longest path counts."""
    assert RULED.length(Target(host, method, path)) == length


def test_the_longest_path_of_a_secret_decides() -> None:
    """Of several rules of a secret, that with the longest path decides; of equal ones, the first."""
    wide = {**RULE, "paths": ["/"], "format": "wide {}"}
    twin = {**RULE, "format": "twin {}"}
    target = Target("api.stripe.com", "POST", "/v1/charges")
    assert best([wide, RULE, twin], target) == (11, RULED)
    assert best([wide], target)[0] == 1
    assert best([], target) == (0, None)


@pytest.mark.parametrize(
    ("how", "value", "header", "text", "secret"),
    [
        ({"format": "Bearer {}"}, VALUE, "X-Key", f"Bearer {VALUE}", VALUE),
        ({"format": "{}"}, "pässwörd", "X-Key", "pässwörd", "pässwörd"),
        ({"format": "k={api key};"}, json.dumps({"api key": VALUE, "b": 1}), "X-Key", f"k={VALUE};", VALUE),
    ],
)
def test_the_header_has_the_value(
    how: dict[str, str], value: str, header: str, text: str, secret: str
) -> None:
    """The header has the value, or one field of it, in its place; what is scrubbed is what was sent."""
    found = UseRule((), (), (), header, **how).credential(value.encode())
    assert (found.header, found.value, found.secret) == (header, text, secret)
    assert VALUE not in repr(found)


def test_basic_authentication_has_user_and_value() -> None:
    """With a user, the header is that of basic authentication, with the value as the password."""
    found = UseRule((), (), (), basic="deploy").credential(VALUE.encode())
    kind, _, encoded = found.value.partition(" ")
    assert (found.header, kind, b64decode(encoded).decode()) == ("Authorization", "Basic", f"deploy:{VALUE}")
    assert found.secret == VALUE


@pytest.mark.parametrize(
    "value",
    [
        *(b"long\nenough", b"long\renough", b"long\0enough", b"enough\n", b"\x7f234567890", b"\xff" * 9),
        *(b"1234567", b""),
    ],
)
@pytest.mark.parametrize("rule", [RULED, UseRule((), (), (), basic="u")])
def test_a_value_that_no_header_can_have_is_refused(rule: UseRule, value: bytes) -> None:
    """Values with line breaks, NUL or bytes that are no text, and short ones, are refused without a quote."""
    with pytest.raises(UnusableValueError) as refused:
        rule.credential(value)
    assert "enough" not in str(refused.value)


@pytest.mark.parametrize(
    "value",
    [
        *("x" * 9, "[1]", '{"b": "12345678"}', '{"a": 12345678}', '{"a": null}', '{"a": "short"}'),
        *('{"a": "1234567\\n8"}', '{"a": "1234567\\ud800"}', '{"a": "12345678", "a": "12345678"}', "{" * 9),
    ],
)
def test_a_field_must_be_a_usable_text(value: str) -> None:
    """A field must be a text of a JSON object that a header can have."""
    with pytest.raises(UnusableValueError):
        UseRule((), (), (), "X-Key", "{a}").credential(value.encode())


@pytest.mark.parametrize(
    "stored", [None, 1, "x", {}, [1], [{}], [{**RULE, "hosts": "x"}], [{**RULE, "header": 1}]]
)
def test_a_stored_value_of_another_form_is_no_rule(stored: Any) -> None:
    """Whatever someone stores in MongoDB, it has the form of rules or is none."""
    assert not rules.are_rules(stored)
    assert rules.are_rules([RULE])


def test_hosts_are_compared_in_one_form() -> None:
    """Hosts are in lower case and without the port of HTTPS."""
    assert [rules.plain_host(host) for host in ("API.example.com:443", "a:8443")] == [
        "api.example.com",
        "a:8443",
    ]
    assert [bool(rules.user_flaw(user)) for user in ("a:b", "a\n", "")] == [True, True, False]

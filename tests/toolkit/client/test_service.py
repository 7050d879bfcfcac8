"""The service as its clients see it, with servers that misbehave."""

import json
import socket
import ssl
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest

from tests.system.test_tls import make
from tests.toolkit.client.peers import peer, received_request, reply
from vault.common.errors import ServiceRefusedError, ServiceUnavailableError, VaultError
from vault.toolkit.client.http import Waits
from vault.toolkit.client.service import Service

TOKEN = "smt_a-token-of-someone"
PATH = "/vault/secret/describe"


def failure(answer: bytes) -> str:
    """Return the message of the call that gets *answer*."""
    with peer(answer) as server, pytest.raises(ServiceUnavailableError) as caught:
        Service(server.url, TOKEN).call(PATH, {})
    assert TOKEN not in str(caught.value)
    return str(caught.value).replace(server.url, "URL")


def refusal(problem: object, status: int = 400) -> ServiceRefusedError:
    """Return the error of the call that gets *problem*."""
    with peer(reply(status, json.dumps(problem))) as server, pytest.raises(ServiceRefusedError) as caught:
        Service(server.url, TOKEN).call(PATH, {})
    return caught.value


def test_a_call_is_a_post_of_json_with_the_token() -> None:
    """A call posts its body as JSON below the address, without unset fields, with the token as a header."""
    with peer(reply(200, '{"a": 1}')) as server:
        assert Service(server.url + "/below/", TOKEN).call(PATH, {"b": "ä", "of_a_later_version": None}) == {
            "a": 1
        }
    head, _, body = server.requests[0].decode().partition("\r\n\r\n")
    assert head.startswith(f"POST /below{PATH} HTTP/1.1\r\n")
    assert {f"Authorization: Bearer {TOKEN}", "Content-Type: application/json"} <= set(head.splitlines())
    assert json.loads(body) == {"b": "ä"}


def test_without_a_token_there_is_no_header_for_it() -> None:
    """An anonymous call has no credential."""
    with peer(reply(200, "{}")) as server:
        assert Service(server.url, "").call(PATH, {}) == {}
    assert b"authorization" not in server.requests[0].lower()


@pytest.mark.parametrize("role", ["a\r\nX-Other: b", "a b", "ä"])
def test_a_role_cannot_add_a_header(role: str) -> None:
    """A role that is not one word of visible characters is refused before anything is sent."""
    with pytest.raises(ValueError, match="the role must have visible ASCII characters only"):
        Service("http://localhost:1", "a.b.c", role=role)


def test_a_refused_jwt_has_a_hint_of_its_own() -> None:
    """After the 401 of a JWT, the hint is a new JWT or its role, which a login cannot replace."""
    with peer(reply(401, '{"code": "c"}')) as server, pytest.raises(ServiceRefusedError) as caught:
        Service(server.url, "a.b.c").call(PATH, {})
    assert caught.value.hint == "use a new JWT, and name its role with --role or VAULT_ROLE"


def test_calls_share_a_connection() -> None:
    """A second call uses the connection of the first one."""
    with peer(reply(200, "{}"), reply(200, '{"second": true}'), reuse=True) as server:
        service = Service(server.url, TOKEN)
        service.call(PATH, {})
        assert service.call(PATH, {}) == {"second": True}


def test_an_error_of_the_service_keeps_its_facts() -> None:
    """A refusal has the status, the code, the request's ID and the reason."""
    problem = {"code": "secret_not_found", "title": "T", "detail": "Secret not found", "request_id": "r-1"}
    error = refusal(problem, 404)
    assert (error.status, error.code, error.request_id) == (404, "secret_not_found", "r-1")
    assert error.problem == "the service answers 404: Secret not found"
    assert "`secret-manager secret list`" in error.hint


def test_a_hint_replaces_that_of_the_reply() -> None:
    """A refusal has one hint: for people with commands, not for callers of the API."""
    detail = "The secret is not deleted. Delete it first, or set `version`."
    error = refusal({"code": "secret_not_deleted", "detail": detail}, 409)
    assert error.problem == "the service answers 409: The secret is not deleted"
    assert error.hint == "delete it first, or name an older version with --version"
    assert refusal({"code": "secret_busy", "detail": "It is busy. Try again."}).hint == ""


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("Retry-After: 12", "Too many requests; try again in 12 seconds"),
        ("Retry-After: 1", "Too many requests; try again in 1 second"),
        ("Retry-After: Fri, 31 Dec 1999 23:59:59 GMT", "Too many requests. Try again later"),
        ("X: y", "Too many requests. Try again later"),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_the_time_until_a_retry_is_told(header: str, message: str, status: int) -> None:
    """A refusal for now says after how many seconds to try again, if the reply has their number."""
    problem = {"code": "rate_limited", "detail": "Too many requests. Try again later."}
    with peer(reply(status, json.dumps(problem), header)) as server, pytest.raises(VaultError) as caught:
        Service(server.url, TOKEN).call(PATH, {})
    assert str(caught.value) == f"the service answers {status}: {message}"


def test_a_refused_body_names_its_fields() -> None:
    """The message names the fields that are invalid, and why."""
    problem = {
        "code": "unprocessable_content",
        "detail": "Request body failed validation.",
        "errors": [{"field": "name", "message": "Too long."}, 5, {"field": "ttl", "message": "Too small"}],
    }
    assert str(refusal(problem, 422)) == (
        "the service answers 422: Request body failed validation: name Too long, ttl Too small"
    )


@pytest.mark.promise("commands")
def test_an_error_never_shows_the_token() -> None:
    """A server that echoes the token, or moves the cursor, does neither on the user's terminal."""
    error = refusal({"code": "x", "detail": f"\x1b[2J{TOKEN}{'y' * 1000}"})
    assert TOKEN not in str(error)
    assert "\x1b" not in str(error)
    assert len(str(error)) < 500


@pytest.mark.parametrize("problem", [{"code": "x", "title": "Title"}, {"code": "Title", "errors": {}}])
def test_a_short_problem_has_a_reason(problem: object) -> None:
    """Without a detail, the reason is the title, or the code."""
    assert str(refusal(problem)) == "the service answers 400: Title"


def test_an_anonymous_refusal_has_its_reason() -> None:
    """Without a token there is nothing to hide in a reason."""
    with (
        peer(reply(401, '{"code": "c", "detail": "d"}')) as server,
        pytest.raises(ServiceRefusedError) as caught,
    ):
        Service(server.url, "").call(PATH, {})
    assert (
        str(caught.value)
        == "the service answers 401: d; run `secret-manager login`, or set VAULT_TOKEN to a valid token"
    )


#: A server that expects TLS breaks off in the same way.
BROKEN = "URL breaks off its reply; if it expects TLS, use https://"
ODD = "URL answers with status {}, not as this service does; check the address in VAULT_URL, or --url"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        # A 404 for the path itself, which the service has.
        (reply(404, '{"code": "not_found", "detail": "No resource exists at this path."}'), ODD.format(404)),
        (reply(200, "<html>"), ODD.format(200)),
        (reply(200, "[1]"), ODD.format(200)),
        (reply(200, "[" * 100_000), ODD.format(200)),
        # Never unpacked: a few bytes could fill the memory.
        (reply(200, b"\x1f\x8b", "Content-Encoding: gzip"), ODD.format(200)),
        (reply(404, "<html>"), ODD.format(404)),
        (reply(404, '{"code": 5}'), ODD.format(404)),
        (reply(502, ""), ODD.format(502)),
        *(
            (reply(status, '{"code": "c", "detail": "Too many."}'), f"the service answers {status}: Too many")
            for status in (502, 503, 504)
        ),
        (b"", BROKEN),
        (b"garbage\r\n\r\n", BROKEN),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}", "URL cuts its reply short"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n", BROKEN),
    ],
    ids=lambda value: str(value)[-40:],
)
def test_a_reply_without_a_result_is_unavailability(answer: bytes, message: str) -> None:
    """A reply that is not whole, or not the service's own, is never a missing secret or part of a result."""
    assert failure(answer) == message


@pytest.mark.promise("commands")
def test_a_redirect_is_not_followed() -> None:
    """A redirect is an error: the token goes to no other server."""
    with peer() as elsewhere:
        message = failure(reply(302, "", f"Location: {elsewhere.url}/"))
    assert message == "URL redirects; use the address of the service itself"
    assert elsewhere.requests == []


@pytest.mark.promise("commands")
def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """`HTTP_PROXY` has no effect: a proxy would read the token."""
    with peer(reply(200, "{}")) as server, peer() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        assert Service(server.url, TOKEN).call(PATH, {}) == {}
    assert proxy.requests == []


def test_a_large_reply_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reply larger than any of the service is not kept in memory."""
    monkeypatch.setitem(Service.__init__.__kwdefaults__, "max_reply_bytes", 100)
    assert failure(reply(200, '"' + "x" * 200 + '"')) == "URL sends a reply of more than 100 bytes"


def test_nothing_is_sent_twice() -> None:
    """After a lost reply, a request is not repeated: the change may have been made."""
    with peer(b"", b"") as server:
        with pytest.raises(ServiceUnavailableError):
            Service(server.url, TOKEN).call(PATH, {})
        assert len(server.requests) == 1


def test_a_refused_connection_is_an_error() -> None:
    """If nothing listens at the address, the error says so."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(ServiceUnavailableError, match=f"^{url} cannot be reached: Connection refused; "):
        Service(url, TOKEN).call(PATH, {})


def test_an_impossible_host_is_an_error() -> None:
    """A host that cannot be looked up is an error of the address."""
    with pytest.raises(ServiceUnavailableError, match="cannot be reached: there is no such host"):
        Service("http://a..b", TOKEN).call(PATH, {})


def test_a_silent_service_is_an_error() -> None:
    """A service that accepts a connection and says nothing is given up."""
    soon = Waits(connect=5, read=0.01)
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        pytest.raises(ServiceUnavailableError, match="does not answer in time"),
    ):
        Service(f"http://127.0.0.1:{listener.getsockname()[1]}", TOKEN, timeout=soon).call(PATH, {})


def test_a_service_without_tls_is_an_error() -> None:
    """An `https` address at which plain HTTP answers is an error of the address."""
    with (
        peer(reply(400, "")) as server,
        pytest.raises(ServiceUnavailableError, match="does not speak TLS"),
    ):
        Service(server.url.replace("http:", "https:"), TOKEN).call(PATH, {})


@pytest.mark.parametrize("token", ["a b", "a\r\nX: y", "ä"])
def test_a_token_that_cannot_be_in_a_header_is_refused(token: str) -> None:
    """A token that would alter the request is refused, without being quoted."""
    with pytest.raises(ValueError, match="the token must have visible ASCII characters only"):
        Service("http://localhost", token)


def test_an_untrusted_certificate_is_an_error(tmp_path: Path) -> None:
    """Only a certificate of the given authorities is trusted; the error says how to name another.

    If a server with TLS breaks off its reply, the error does not suggest https://.
    """
    server, other = make(tmp_path, "server"), make(tmp_path, "other")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(server.certificate, server.key)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"

        def serve() -> None:
            for answer in (b"", reply(200, "{}"), b""):
                connection = listener.accept()[0]
                with connection, suppress(OSError), context.wrap_socket(connection, server_side=True) as tls:
                    received_request(tls)
                    tls.sendall(answer)

        thread = Thread(target=serve, daemon=True)
        thread.start()
        with pytest.raises(ServiceUnavailableError, match="name its CA with --ca-cert"):
            Service(url, TOKEN, ca_file=str(other.certificate)).call(PATH, {})
        assert Service(url, TOKEN, ca_file=str(server.certificate)).call(PATH, {}) == {}
        with pytest.raises(ServiceUnavailableError, match=r"breaks off its reply$"):
            Service(url, TOKEN, ca_file=str(server.certificate)).call(PATH, {})
    thread.join(30)

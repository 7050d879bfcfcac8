"""The source of an import: its failures, which the real server does not produce on demand."""

import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest

from tests.features.imports.moving import Tree
from tests.system.test_tls import make
from vault.clients.dev.mongod import free_port
from vault.core.documents.write_rules import WriteRules
from vault.features.imports import kv_source
from vault.features.imports.kv_source import Found, ImportRefusedError, ImportSourceError, KVSource
from vault.toolkit.client.http import Reply

TOKEN = "a-token-of-the-source"
MOUNT = {"data": {"type": "kv", "options": {"version": "2"}}}
VERSION = {"created_time": "2026-11-24T15:30:00.123456789Z", "deletion_time": "", "destroyed": False}
METADATA = {"created_time": VERSION["created_time"], "versions": {"1": VERSION}, "custom_metadata": None}
SECRET = {"data": {"data": {"k": "v"}, "metadata": {}}}


class Answer(NamedTuple):
    """An answer of the fake source; without a status, it disconnects."""

    status: int = 200
    body: object = None
    headers: Mapping[str, str] = MappingProxyType({})


class Fake:
    """A fake source with one answer for each request, or one for all further ones."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: list[Answer] = []
        self.requests: list[tuple[str, dict[str, str]]] = []

    def source(self, **options: Any) -> KVSource:
        """Return a reader of it."""
        return KVSource(self.url, mount="secret", token=TOKEN, **options)


@contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[Fake]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            fake.requests.append((self.path, dict(self.headers)))
            answer = fake.answers.pop(0) if len(fake.answers) > 1 else fake.answers[0]
            if not answer.status:
                self.close_connection = True
                return
            is_raw = isinstance(answer.body, bytes)
            body = answer.body if is_raw else json.dumps(answer.body).encode()
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(body)))
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    fake = Fake(f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def fake() -> Iterator[Fake]:
    """Return a fake source."""
    with serving() as found:
        yield found


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the pauses that were made, none of which takes time."""
    made: list[float] = []
    # Of this module alone: threads of other tests sleep, too.
    monkeypatch.setattr(kv_source, "time", SimpleNamespace(sleep=made.append))
    return made


def read(fake: Fake, *answers: Answer) -> Any:
    """Return the secret that the fake source gives."""
    fake.answers = list(answers)
    with closing(fake.source()) as source:
        return source.read("a/b", max_versions=10)


def check(fake: Fake, *answers: Answer, **options: Any) -> None:
    """Check the mount of the fake source."""
    fake.answers = list(answers)
    with closing(fake.source(**options)) as source:
        source.check()


def test_what_is_sent(fake: Fake) -> None:
    """A request has the token and the namespace in its headers only, and names with their slashes."""
    fake.answers = [Answer(body={"data": METADATA}), Answer(body=SECRET)]
    with closing(fake.source(namespace="team")) as source:
        secret = source.read("a/b c", max_versions=10)
    assert secret is not None
    assert secret.versions[0].value == b'{"k":"v"}'
    assert [path for path, _ in fake.requests] == [
        "/v1/secret/metadata/a/b%20c",
        "/v1/secret/data/a/b%20c?version=1",
    ]
    for _, headers in fake.requests:
        assert headers["X-Vault-Token"] == TOKEN
        assert headers["X-Vault-Namespace"] == "team"
        assert headers["X-Vault-Request"] == "true"


def test_a_path_of_the_address_is_kept(fake: Fake) -> None:
    """A source behind a proxy can have a path before `/v1/`."""
    fake.url += "/vault/"
    check(fake, Answer(body=MOUNT))
    assert fake.requests[0][0] == "/vault/v1/sys/internal/ui/mounts/secret"


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_busy_source_is_asked_again(fake: Fake, pauses: list[float], status: int) -> None:
    """Overload and failures are retried, after the pause that the source asks for."""
    busy = [Answer(status, headers={"Retry-After": asked}) for asked in ("7", "9999", "Fri, 01 Jan", "-3")]
    check(fake, *busy, Answer(body=MOUNT))
    assert pauses == [0, 7, 60, 2, 4]


def test_a_source_that_disconnects_is_asked_again(fake: Fake, pauses: list[float]) -> None:
    """A connection that the source has closed is replaced immediately."""
    check(fake, Answer(0), Answer(body=MOUNT))
    assert pauses == [0, 0]


def test_a_source_that_stays_away_is_named(pauses: list[float]) -> None:
    """After several tries, the error says what failed, without the token."""
    source = KVSource(f"http://127.0.0.1:{free_port()}", mount="secret", token=TOKEN)
    with pytest.raises(ImportSourceError, match="cannot be reached: Connection refused") as caught:
        source.check()
    assert TOKEN not in str(caught.value)
    assert len(pauses) == 6


def test_a_sealed_source_is_named(fake: Fake, pauses: list[float]) -> None:
    """The error has the last status."""
    with pytest.raises(ImportSourceError, match="status 503"):
        check(fake, Answer(503))
    assert len(pauses) == len(fake.requests) == 6


@pytest.mark.promise("purges")
def test_redirects_are_not_followed(fake: Fake) -> None:
    """The token never reaches another server."""
    with pytest.raises(ImportSourceError, match="redirects"):
        check(fake, Answer(307, headers={"Location": "http://127.0.0.1:1/"}))
    assert len(fake.requests) == 1


def test_a_reply_is_read_up_to_a_limit(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source cannot fill the memory."""
    monkeypatch.setattr(kv_source, "_MAX_REPLY_BYTES", 10)
    with pytest.raises(ImportSourceError, match="more than 10 bytes"):
        check(fake, Answer(body=MOUNT))


@pytest.mark.parametrize(
    "mount",
    [
        {"data": {"type": "kv", "options": {"version": "1"}}},
        {"data": {"type": "kv", "options": None}},
        {"data": {"type": "pki"}},
    ],
)
def test_only_kv_version_2_is_accepted(fake: Fake, mount: object) -> None:
    """Another secrets engine is refused before anything is read."""
    with pytest.raises(ImportSourceError, match="no secrets engine KV, version 2"):
        check(fake, Answer(body=mount))


def test_a_wrong_token_is_named(fake: Fake) -> None:
    """The error says that the source does not accept the token."""
    with pytest.raises(ImportSourceError, match="does not accept the token"):
        check(fake, Answer(403, {"errors": ["permission denied"]}))


@pytest.mark.parametrize("status", [400, 404])
def test_a_mount_that_is_not_there_is_named(fake: Fake, status: int) -> None:
    """Any other status is an error as well."""
    with pytest.raises(ImportSourceError, match="no secrets engine KV, version 2"):
        check(fake, Answer(status))


@pytest.mark.parametrize(
    "answer",
    [
        Answer(body=b"no json"),
        Answer(body=[]),
        Answer(body={"data": None}),
        Answer(body={"data": {}}),
        Answer(body={"data": METADATA | {"versions": {"one": VERSION}}}),
        Answer(body={"data": METADATA | {"created_time": []}}),
        Answer(body={"data": METADATA | {"versions": {"1": {}}}}),
        Answer(body={"data": METADATA | {"versions": []}}),
        Answer(body={"data": METADATA | {"delete_version_after": "soon"}}),
        Answer(body={"data": METADATA | {"custom_metadata": 5}}),
        *(
            Answer(body={"data": METADATA | {"versions": {number: VERSION}}})
            for number in ("0", "-1", "1_0", "\u0661", str(2**31), str(2**70))
        ),
        Answer(body={"data": METADATA | {"current_metadata_version": -1}}),
        Answer(body={"data": METADATA | {"max_versions": -1}}),
    ],
)
def test_a_reply_of_another_form_ends_the_import(fake: Fake, answer: Answer) -> None:
    """A reply that is not one of KV, version 2, is not guessed at."""
    with pytest.raises(ImportSourceError, match="not one of KV"):
        read(fake, answer, Answer(body=SECRET))


@pytest.mark.parametrize(
    "time",
    [
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "2026-11-24T15:30:00",
        "2026-02-30T00:00:00Z",
        "x",
    ],
)
def test_an_impossible_time_refuses_its_secret_alone(fake: Fake, time: str) -> None:
    """A time that no one can store, of a secret or of a version, does not end the import of the others."""
    version = {"versions": {"1": VERSION | {"deletion_time": time}}}
    for change in ({"created_time": time}, version):
        with pytest.raises(ImportRefusedError, match="it has an impossible time"):
            read(fake, Answer(body={"data": METADATA | change}), Answer(body=SECRET))


def test_a_list_of_another_form_ends_the_import(fake: Fake) -> None:
    """Keys are texts in a list."""
    for keys in ({}, [None], None):
        fake.answers = [Answer(body={"data": {"keys": keys}})]
        with closing(fake.source()) as source, pytest.raises(ImportSourceError, match="not one of KV"):
            list(source.paths(""))


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ([Answer(403)], "the token cannot read it"),
        ([Answer(400)], "status 400"),
        ([Answer(body={"data": METADATA}), Answer(403)], "the token cannot read it"),
        ([Answer(body={"data": METADATA}), Answer(404)], "changed while it was read"),
        ([Answer(body=b"[" * 100_000)], "nested too deeply"),
        (
            [
                Answer(body={"data": METADATA}),
                Answer(body=b'{"data":{"data":' + b"[" * 2_000 + b"]" * 2_000 + b"}}"),
            ],
            "nested too deeply",
        ),
    ],
)
def test_a_secret_that_cannot_be_read_is_refused_alone(
    fake: Fake, answers: list[Answer], reason: str
) -> None:
    """Such an error concerns one secret."""
    with pytest.raises(ImportRefusedError, match=reason):
        read(fake, *answers)


def test_a_secret_that_is_gone_is_none(fake: Fake) -> None:
    """A secret can be removed after it was listed."""
    assert read(fake, Answer(404, {"errors": []})) is None


def test_old_servers_have_less_metadata(fake: Fake) -> None:
    """Fields that later versions of Vault added may be missing."""
    metadata = {name: METADATA[name] for name in ("created_time", "versions")}
    secret = read(fake, Answer(body={"data": metadata}), Answer(body=SECRET))
    assert (secret.description.pairs, secret.rules, secret.metadata_version) == ({}, WriteRules(), 0)


def test_a_rule_beyond_all_limits_is_the_largest(fake: Fake) -> None:
    """OpenBao stores `max_versions` of -1 as 4294967295, which no rule here can have."""
    secret = read(fake, Answer(body={"data": METADATA | {"max_versions": 2**32 - 1}}), Answer(body=SECRET))
    assert WriteRules.of_stored(secret.rules.stored()) == secret.rules == WriteRules(max_versions=2**31 - 1)


def test_times_have_milliseconds(fake: Fake) -> None:
    """Times are as MongoDB stores them; a deletion can be in the future, and the value is read until then."""
    later = datetime.now(UTC) + timedelta(hours=1)
    state = VERSION | {"deletion_time": later.isoformat()}
    secret = read(fake, Answer(body={"data": METADATA | {"versions": {"7": state}}}), Answer(body=SECRET))
    [version] = secret.versions
    assert (version.number, version.value) == (7, b'{"k":"v"}')
    assert version.created_at == datetime(2026, 11, 24, 15, 30, 0, 123_000, tzinfo=UTC)
    assert abs(version.deleted_at - later) < timedelta(milliseconds=1)


def test_values_are_no_part_of_a_repr(fake: Fake) -> None:
    """Neither the source nor a reply or a secret of it shows a value or the token."""
    assert "a value" not in repr(Reply(200, b"a value"))
    secret = read(fake, Answer(body={"data": METADATA}), Answer(body={"data": {"data": {"k": "a value"}}}))
    assert "a value" not in repr(secret)
    assert TOKEN not in repr(fake.source())


@pytest.mark.promise("purges")
def test_the_certificate_is_checked(tmp_path: Path, pauses: list[float]) -> None:
    """A certificate must be of the named CA; another one is refused immediately."""
    authority = make(tmp_path, "authority")
    pair = make(tmp_path, "source", authority)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    with serving(context) as fake:
        check(fake, Answer(body=MOUNT), ca_file=str(authority.certificate))
        with pytest.raises(ImportSourceError, match="not trusted; name its CA"):
            check(fake, Answer(body=MOUNT))
    assert pauses == [0, 0]


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_file_without_certificates_is_named(tmp_path: Path, content: str | None) -> None:
    """The error names the option."""
    file = tmp_path / "ca.pem"
    if content:
        file.write_text(content)
    with pytest.raises(ImportSourceError, match="--ca-cert"):
        KVSource("https://127.0.0.1", mount="secret", token=TOKEN, ca_file=str(file))


def test_paths_on_the_real_server(tree: Tree) -> None:
    """All secrets at and below a path are found; a folder that no secret here can be in is named itself."""
    for name in ("a", "a/b", "a/c/d", "a b/c", "a*/c", "e", "a/ü"):
        tree.put(quote(name), {})
    with closing(KVSource(tree.bao.url, mount=tree.mount, token=tree.token)) as source:
        source.check()

        def paths(path: str) -> list[str]:
            return [found.path for found in source.paths(path)]

        assert sorted(paths("")) == ["a", "a b/c", "a*/", "a/b", "a/c/d", "a/ü", "e"]
        assert sorted(paths("a")) == ["a", "a/b", "a/c/d", "a/ü"]
        assert sorted(paths("a/c/")) == ["a/c/d"]
        assert paths("none/") == []


def test_a_folder_that_cannot_be_listed_is_named(tree: Tree) -> None:
    """The others are found all the same."""
    tree.put("a/b", {})
    tree.put("c/d", {})
    allowed = (
        'path "~/*" { capabilities = ["read", "list"] } path "~/metadata/c/*" { capabilities = ["deny"] }'
    )
    token = tree.allow(allowed)
    with closing(KVSource(tree.bao.url, mount=tree.mount, token=token)) as source:
        source.check()
        found = list(source.paths(""))
    assert found[0] == Found("a/b")
    assert (found[1].path, str(found[1].error)) == ("c/", "the token cannot read it")


def test_a_real_secret_has_all_its_parts(tree: Tree) -> None:
    """States, labels and write rules of a secret are read, and only its newest versions."""
    tree.put("s", *({"n": number} for number in range(1, 6)))
    tree.change("destroy", "s", [3])
    tree.change("delete", "s", [5])
    rules = {"cas_required": True, "max_versions": 7, "delete_version_after": "1h30m"}
    tree.describe("s", {"custom_metadata": {"team": "x"}, **rules})
    with closing(KVSource(tree.bao.url, mount=tree.mount, token=tree.token)) as source:
        secret = source.read("s", max_versions=4)
    assert secret is not None
    assert [one.number for one in secret.versions] == [2, 3, 4, 5]
    assert [one.value for one in secret.versions] == [b'{"n":2}', None, b'{"n":4}', None]
    assert [bool(one.deleted_at) for one in secret.versions] == [False, False, False, True]
    assert (secret.skipped, secret.description.pairs) == (1, {"team": "x"})
    assert secret.rules == WriteRules(version_required=True, max_versions=7, delete_after_seconds=5400)

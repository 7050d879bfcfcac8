"""The task of an import, with the service in this process."""

import hmac
from base64 import b64decode
from hashlib import sha256
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from tests.support.lifecycle import ALICE, Caller, trail
from tests.support.rotation import Stored
from tests.toolkit.client.in_process import connect
from vault.clients.swarm.imports.task import ORDER, ImportTask, Order, Report
from vault.common.errors import ServiceRefusedError, ServiceUnavailableError
from vault.common.outcomes import ImportOutcome
from vault.common.paths import Paths
from vault.core.principal import Principal, Scope
from vault.toolkit.client.service import Service

VALUE = b"\x00\xff\n"
KEY = "5f" * 32


@pytest.fixture
def paths(alice: Caller, client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Connect the task with the service, for Alice, and return the paths of its calls."""
    assert alice
    return connect(client, monkeypatch)


def order(*, update: bool = False, **names: str) -> Order:
    return Order(
        url="http://localhost", token="smt_hush", role="", ca="", names=names, update=update, hash_key=KEY
    )


def run(folder: Path, *, update: bool = False, **names: str) -> list[Report]:
    for file in names:
        (folder / file).write_bytes(VALUE)
    service = Service("http://localhost", "smt_hush")
    return list(ImportTask(order(update=update, **names), service, folder).run())


def hashed(value: bytes) -> str:
    return hmac.new(KEY.encode(), value, sha256).hexdigest()


def stored_value(alice: Caller, name: str) -> bytes:
    return b64decode(alice("fetch", name=name)["secret"])


def test_an_order_is_a_file(tmp_path: Path) -> None:
    """An order reads back as it was packed, and its repr has neither token nor key."""
    given = order(a="b")
    (tmp_path / ORDER).write_bytes(given.packed())
    assert Order.read(tmp_path) == given
    assert "hush" not in repr(given)
    assert KEY not in repr(given)


def test_a_new_secret_is_stored_and_compared(paths: list[str], alice: Caller, tmp_path: Path) -> None:
    """The bytes of the file become a secret, and the hash is of what the service returns."""
    assert run(tmp_path, f="shop/db") == [
        Report(file="f", outcome=ImportOutcome.IMPORTED, there=hashed(VALUE), here=hashed(VALUE))
    ]
    assert stored_value(alice, "shop/db") == VALUE
    assert paths == ["/vault/secret/fetch-batch", "/vault/secret/create", "/vault/secret/fetch-batch"]


def test_an_equal_secret_is_left_alone(
    paths: list[str], alice: Caller, stored: Stored, tmp_path: Path
) -> None:
    """A secret with the same value is not stored again, also with update."""
    alice.create(VALUE, name="shop/db")
    for update in (False, True):
        [report] = run(tmp_path, update=update, f="shop/db")
        assert (report.outcome, report.is_equal) == (ImportOutcome.SAME, True)
    assert paths == ["/vault/secret/fetch-batch"] * 2
    assert [entry["action"] for entry in trail(stored)] == ["create", "fetch", "fetch"]


def test_a_differing_secret_is_only_updated_on_request(
    paths: list[str], alice: Caller, tmp_path: Path
) -> None:
    """Another value here stays; with update, the file's is its next version."""
    alice.create(b"other", name="shop/db")
    [report] = run(tmp_path, f="shop/db")
    assert (report.outcome, report.is_equal) == (ImportOutcome.DIFFERS, False)
    assert report.here == hashed(b"other")
    assert stored_value(alice, "shop/db") == b"other"
    [report] = run(tmp_path, update=True, f="shop/db")
    assert (report.outcome, report.is_equal) == (ImportOutcome.UPDATED, True)
    assert alice("describe", name="shop/db")["version"] == 2
    assert stored_value(alice, "shop/db") == VALUE
    assert "/vault/secret/update" in paths


def test_refusals_are_reported_and_the_rest_goes_on(paths: list[str], alice: Caller, tmp_path: Path) -> None:
    """A name outside the token's paths, a value that is too large and a lacking right are reported."""
    assert paths == []
    alice.become(Principal(name="alice", scopes=ALICE.scopes, paths=Paths.of(["shop/"])))
    outside, fine = run(tmp_path, a="billing/db", b="shop/db")
    assert (outside.outcome, outside.is_equal, fine.outcome) == (
        ImportOutcome.REFUSED,
        False,
        ImportOutcome.IMPORTED,
    )
    assert "the service answers 403" in outside.reason
    (tmp_path / "c").write_bytes(bytes(65_537))
    service = Service("http://localhost", "smt_hush")
    [large] = ImportTask(order(c="shop/large"), service, tmp_path).run()
    assert large.outcome is ImportOutcome.REFUSED
    assert "65536" in large.reason
    alice.become(Principal(name="alice", scopes=ALICE.scopes - {Scope.SECRET_FETCH}))
    [unread] = run(tmp_path, b="shop/db")
    assert unread.outcome is ImportOutcome.REFUSED
    assert "secret:fetch" in unread.reason


def test_an_unreadable_secret_is_reported(
    paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret that the service cannot return is reported with the problem of its item."""
    problem = {"status": 500, "code": "undecryptable", "detail": "The secret cannot be decrypted."}
    monkeypatch.setattr(Service, "call", lambda *_: {"secrets": [{"problem": problem}]})
    assert paths == []
    [report] = run(tmp_path, a="shop/db")
    assert (report.outcome, report.reason) == (ImportOutcome.REFUSED, "The secret cannot be decrypted.")


def test_a_secret_that_vanishes_is_not_equal(
    paths: list[str], alice: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the new secret is deleted before it is read back, the hashes differ."""
    assert paths == []
    call = Service.call

    def create_and_delete(service: Service, path: str, body: object) -> object:
        reply = call(service, path, body)  # type: ignore[arg-type]
        if path.endswith("create"):
            alice("delete", secret_id=reply["secret_id"])
        return reply

    monkeypatch.setattr(Service, "call", create_and_delete)
    [report] = run(tmp_path, a="shop/db")
    assert (report.outcome, report.is_equal) == (ImportOutcome.IMPORTED, False)


@pytest.mark.parametrize("here", [None, b"other"], ids=["new", "another"])
def test_a_secret_that_cannot_be_read_back_is_stored(
    paths: list[str], alice: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: bytes | None
) -> None:
    """If the service refuses to return what it has stored, the report says so."""
    assert paths == []
    if here:
        alice.create(here, name="shop/db")
    call, is_stored = Service.call, []

    def limited(service: Service, path: str, body: object) -> object:
        if is_stored:
            raise ServiceRefusedError("the service answers 429: Too many requests", status=429, code="x")
        is_stored.extend([True] * (not path.endswith("batch")))
        return call(service, path, body)  # type: ignore[arg-type]

    monkeypatch.setattr(Service, "call", limited)
    [report] = run(tmp_path, update=True, a="shop/db")
    assert report.outcome is (ImportOutcome.UPDATED if here else ImportOutcome.IMPORTED)
    assert not report.is_equal
    assert report.reason.startswith("stored, but not compared: the service answers 429: Too many requests; ")
    assert stored_value(alice, "shop/db") == VALUE


def test_a_service_that_is_away_ends_the_task(
    paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the service, the task fails; what was reported before is stored."""
    assert paths == []

    def away(*_: object) -> None:
        raise ServiceUnavailableError("away")

    monkeypatch.setattr(Service, "call", away)
    with pytest.raises(ServiceUnavailableError):
        run(tmp_path, a="shop/db")

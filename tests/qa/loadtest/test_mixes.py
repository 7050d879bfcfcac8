"""The same calls for every service with Vault's API, and the figures of the load that they make."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.qa.loadtest.modules import imported
from tests.qa.loadtest.peer import peer
from tests.support.system import needs

CALLS = 1_000


class Service:
    """A service that creates tokens."""

    def __init__(self, name: str) -> None:
        self.header = ("X-Vault-Token", name)
        self.login = {"role_id": "load", "secret_id": name}
        self.tokens: list[str] = []

    def post(self, path: str, _body: object) -> dict[str, Any]:
        """Return a new token."""
        assert path == "/v1/auth/token/create"
        self.tokens.append(f"{self.header[1]}-{len(self.tokens)}")
        return {"auth": {"client_token": self.tokens[-1]}}


@pytest.fixture
def url() -> Iterator[str]:
    """Return the URL of a server that answers as the path says."""
    with peer() as url:
        yield url


@pytest.fixture
def mixes(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the module of the mixes."""
    return imported("mixes", monkeypatch)


def enough(run: Callable[[int], Any]) -> Any:
    """Return the figures of a *run* of so many seconds: of a second, or of more on a busy machine."""
    for seconds in (1, 10, 60):
        if (load := run(seconds)).requests > 2:
            return load
    raise AssertionError("there are no replies")


def kind(call: Any) -> str:
    """Return the kind of a call of the standard mix."""
    ends = {"/?list=true": "list", "/approle/login": "login", "/token/revoke-self": "revoke"}
    for end, name in ends.items():
        if call.path.endswith(end):
            return name
    return {"GET": "read", "POST": "write", "DELETE": "delete"}[str(call.method)]


def test_every_hundred_calls_have_the_shares_of_the_mix(mixes: ModuleType) -> None:
    """Each 100 calls are 85 reads, 5 lists, 4 writes, 4 deletes, a login and a revocation."""
    calls = mixes.calls(mixes.STANDARD, Service("one"), CALLS, seed=1)
    assert len(calls) == CALLS
    for begin in range(0, CALLS, 100):
        assert Counter(map(kind, calls[begin : begin + 100])) == mixes.STANDARD


def test_services_get_the_same_calls_with_their_own_tokens(mixes: ModuleType) -> None:
    """The calls to two services differ in nothing except tokens."""
    one, two = (mixes.calls(mixes.STANDARD, Service(name), CALLS, seed=1) for name in ("one", "two"))
    assert one != two
    assert [call.line.replace("one", "two") for call in one] == [call.line for call in two]
    other = mixes.calls(mixes.STANDARD, Service("one"), CALLS, seed=2)
    assert [call.line for call in one] != [call.line for call in other]


def test_no_read_meets_a_deleted_secret_and_no_token_is_revoked_twice(mixes: ModuleType) -> None:
    """Deletes take names that nothing reads, and each revocation a token of its own."""
    service = Service("one")
    calls = mixes.calls(mixes.STANDARD, service, CALLS, seed=1)
    by_kind: dict[str, list[Any]] = {name: [] for name in mixes.STANDARD}
    for call in calls:
        by_kind[kind(call)].append(call)
    deleted = {call.path for call in by_kind["delete"]}
    assert deleted.isdisjoint({call.path for call in by_kind["read"]})
    assert deleted & {call.path for call in by_kind["write"]}
    assert sorted(call.header[1] for call in by_kind["revoke"]) == sorted(service.tokens)


@pytest.mark.process
def test_refusals_under_closed_load_are_counted(
    mixes: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str
) -> None:
    """The calls are replayed in turn, and what is refused is in the figures."""
    needs("wrk")
    wrk = imported("wrk", monkeypatch)
    file = tmp_path / "calls"
    file.write_text("".join(f"{mixes.Call('GET', path).line}\n" for path in ("/200", "/403")))
    load = enough(lambda seconds: wrk.run("replay.lua", url, str(file), "1", connections=1, seconds=seconds))
    assert abs(load.errors - load.requests / 2) <= 1
    assert load.p999 >= load.p99 >= load.p50 > 0


@pytest.mark.process
def test_a_batch_that_holds_a_problem_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str
) -> None:
    """A reply to a batch is searched for refusals, because its status is always 200."""
    needs("wrk")
    wrk = imported("wrk", monkeypatch)
    for names, errors in (("problem\n", True), ("200\n", False)):
        file = tmp_path / "batches"
        file.write_text(names)
        arguments = ("batch.lua", url, "GET", "/NAME", "", str(file))
        load = enough(lambda seconds, all_=arguments: wrk.run(*all_, connections=1, seconds=seconds))
        assert load.errors == (load.requests if errors else 0)

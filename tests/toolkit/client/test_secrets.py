"""Secrets of the service, over HTTP, with replies that are not the service's."""

import json

import pytest

from tests.support.lifecycle import UNKNOWN_ID
from tests.toolkit.client.peers import peer, reply
from vault.common.errors import ServiceRefusedError, ServiceUnavailableError, VaultError
from vault.toolkit.client import secrets as module
from vault.toolkit.client.secrets import Fetched, Secrets, all_of, reference
from vault.toolkit.client.service import Service

VALUE = {"secret_id": UNKNOWN_ID, "name": "a", "version": 1, "secret": "dg=="}
VERSION = {"version": 1, "created_at": "2026-11-24T00:00:00Z", "deleted_at": None}
NONE = dict.fromkeys(("created_at", "expires_at", "last_fetched_at", "max_reads", "reads_left"))
DESCRIPTION = {**VALUE, **NONE, "labels": {}, "versions": [VERSION], "purged_versions": []}
NOT_FOUND = {"problem": {"code": "secret_not_found", "status": 404, "detail": "Secret not found"}}
TOO_LARGE = {"problem": {"code": "too_large_for_batch", "status": 413, "detail": "Too large."}}


def fetched(*replies: object, references: int = 1) -> list[Fetched | VaultError]:
    """Return what a fetch returns for *replies*."""
    answers = [reply(200, json.dumps(one)) for one in replies]
    with peer(*answers) as server:
        return Secrets(Service(server.url, "t")).fetch([{"name": "a"}] * references)


def test_an_id_and_a_name_are_distinguished() -> None:
    """A text of the form of an ID is an ID, in any case; everything else is a name."""
    assert reference(UNKNOWN_ID) == {"secret_id": UNKNOWN_ID}
    assert reference("billing/db") == {"name": "billing/db"}


def test_many_secrets_take_several_requests() -> None:
    """A fetch of 101 secrets takes two requests."""
    found = fetched({"secrets": [VALUE] * 100}, {"secrets": [NOT_FOUND]}, references=101)
    assert [isinstance(one, Fetched) for one in found] == [True] * 100 + [False]


def test_a_value_too_large_for_a_batch_is_fetched_alone() -> None:
    """A value that does not fit a batch is fetched on its own."""
    assert fetched({"secrets": [TOO_LARGE]}, DESCRIPTION | {"version": 4}, {"secret": "dw=="}) == [
        Fetched(UNKNOWN_ID, "a", 4, b"w")
    ]


def test_a_large_value_can_be_refused_alone() -> None:
    """If the fetch of a large value is refused, that is its outcome."""
    problem = reply(404, json.dumps(NOT_FOUND["problem"]))
    with peer(reply(200, json.dumps({"secrets": [TOO_LARGE]})), problem) as server:
        [found] = Secrets(Service(server.url, "t")).fetch([{"name": "a"}])
    assert isinstance(found, ServiceRefusedError)


@pytest.mark.parametrize(
    "answer",
    [
        *({}, {"secrets": 5}, {"secrets": []}, {"secrets": [5]}, {"secrets": [{}]}),
        *({"secrets": [{"problem": 5}]}, {"secrets": [{"problem": {"code": "x"}}]}),
        *({"secrets": [VALUE | {"secret": "?"}]}, {"secrets": [VALUE | {"version": None}]}),
        {"secrets": [VALUE | {"version": float("inf")}]},
    ],
    ids=json.dumps,
)
def test_an_odd_reply_is_an_error(answer: object) -> None:
    """A reply of another form is an error, never a value."""
    with pytest.raises(ServiceUnavailableError, match="not as this service does"):
        fetched(answer)


@pytest.mark.parametrize(
    "answer",
    [
        *({}, VALUE, DESCRIPTION | {"name": []}, DESCRIPTION | {"version": "1"}),
        *(DESCRIPTION | {"versions": [1]}, DESCRIPTION | {"purged_versions": [None]}),
        *(DESCRIPTION | {"versions": [VERSION | {"deleted_at": time}]} for time in ("x", "2026-11-24")),
    ],
    ids=json.dumps,
)
def test_an_odd_description_is_an_error(answer: object) -> None:
    """A command reads only fields that the reply has, of the types that it takes."""
    with (
        peer(reply(200, json.dumps(answer))) as server,
        pytest.raises(ServiceUnavailableError, match="not as this service does"),
    ):
        Secrets(Service(server.url, "t")).describe({"name": "a"})


def test_odd_rows_are_errors() -> None:
    """A list has names and labels."""
    with (
        peer(reply(200, json.dumps({"secrets": [VALUE]}))) as server,
        pytest.raises(ServiceUnavailableError, match="not as this service does"),
    ):
        list(Secrets(Service(server.url, "t")).listed())


def test_an_odd_reply_to_a_change_is_an_error() -> None:
    """The reply to a change must have an ID and a version."""
    with (
        peer(reply(200, "{}")) as server,
        pytest.raises(ServiceUnavailableError, match="not as this service does"),
    ):
        Secrets(Service(server.url, "t")).update({"name": "a"}, b"v")


def test_new_secrets_are_created_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch ends before its values are too large for a request; each secret has its outcome."""
    monkeypatch.setattr(module, "_MAX_BATCH_LENGTH", 10)
    answers = [{"secrets": [{"secret_id": "x"}, NOT_FOUND]}, {"secrets": [{"secret_id": "y"}]}]
    with peer(*[reply(200, json.dumps(one)) for one in answers]) as server:
        created = Secrets(Service(server.url, "t")).create_all([("a", b"v"), ("b", b"w"), ("c", b"x")])
        assert [error is None for error in created] == [True, False, True]


def test_a_call_beyond_the_rate_limit_is_refused() -> None:
    """A call beyond the rate limit is an error for a caller that does not wait."""
    problem = {"code": "rate_limited", "status": 429, "detail": "Too many requests."}
    with peer(reply(429, json.dumps(problem))) as server, pytest.raises(ServiceRefusedError):
        Secrets(Service(server.url, "t")).describe({"name": "a"})


def test_secrets_below_a_prefix_are_fetched_at_once() -> None:
    """A fetch by prefix is one request."""
    with peer(reply(200, json.dumps({"secrets": [VALUE]}))) as server:
        assert Secrets(Service(server.url, "t")).fetch_below("a") == [Fetched(UNKNOWN_ID, "a", 1, b"v")]


def test_failures_are_one_error() -> None:
    """Several failures are one error with the names, of which it shows the first five."""
    error = ServiceRefusedError("Secret not found", status=404, code="secret_not_found")
    with pytest.raises(ServiceRefusedError, match=r"^0: Secret not found; .*; and 2 more$") as caught:
        all_of([error] * 7, [str(number) for number in range(7)])
    assert caught.value.status == 404
    with pytest.raises(ServiceUnavailableError, match=r"^a: away$"):
        all_of([ServiceUnavailableError("away")], ["a"])

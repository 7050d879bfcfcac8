"""Large bodies: limits on what they can take in memory and time."""

import gc
import tracemalloc
from base64 import b64encode
from collections.abc import Sequence

import pytest
from flask.testing import FlaskClient

from tests.support.lifecycle import Caller, trail
from tests.support.rotation import Stored
from vault.core.attempt import Outcome, attempts_finished

MIB = 1_048_576
LARGE = b64encode(bytes(5 * MIB))


def items(text: str) -> bytes:
    """Return a body with *text* as its items, repeated to nearly 8 MiB."""
    return b'{"secrets": [%s]}' % ",".join([text] * (8_000_000 // (len(text) + 1))).encode()


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (items("{}"), "The body has too many values."),
        (items("[" * 400 + "]" * 400), "The body has too many values."),
        (items('{"a":"%s"}' % ("x" * 700)), "The body has too many fields."),
        (
            b'{"secrets": [], %s}' % b",".join(b'"%d": 1' % n for n in range(20_000)),
            "The body has too many fields.",
        ),
    ],
    ids=["objects", "nested lists", "objects with a field", "fields"],
)
def test_a_body_of_many_values_is_413(client: FlaskClient, stored: Stored, body: bytes, detail: str) -> None:
    """A large body with more values or fields than a valid one is refused before they take memory."""
    client.post("/vault/secret/fetch", json={})
    stored.audit_logs.delete_many({})
    headers = {"Content-Type": "application/json"}
    reply = client.post("/vault/secret/create-batch", data=body, headers=headers)
    assert (reply.status_code, reply.get_json(force=True)["detail"]) == (413, detail)
    assert [(entry["action"], entry["status"]) for entry in trail(stored)] == [("create", "bad_request")]


def test_the_richest_valid_batch_is_accepted(alice: Caller) -> None:
    """A hundred items with all fields, and labels of the longest texts in any characters, are created."""
    value = b64encode(bytes(20_000)).decode()
    labels = {f"{number:02}{'k' * 61}": "[{," * 42 + '"\\' for number in range(16)}
    more = {"labels": labels, "ttl_seconds": 315_360_000, "max_reads": 1_000}
    secrets = [{"secret": value, "name": f"{'n' * 253}{number:03}", **more} for number in range(100)]
    outcomes = alice("create-batch", secrets=secrets)["secrets"]
    assert len([outcome["secret_id"] for outcome in outcomes]) == 100


REFUSED = {
    "no JSON": (b'{"secrets": [{"secret": "%s"}' % LARGE, 400),
    "another top-level field": (b'{"secrets": [{"secret": "%s"}], "x": 1}' % LARGE, 422),
    "a value of another type": (b'{"secrets": [{"secret": ["%s"]}]}' % LARGE, 422),
    "no base64": (b'{"secrets": [{"secret": "%s"}]}' % LARGE[1:], 200),
}


@pytest.mark.parametrize(("body", "status"), REFUSED.values(), ids=REFUSED)
def test_a_refused_body_leaves_memory_at_once(client: FlaskClient, body: bytes, status: int) -> None:
    """While the refusal of a large body is recorded, and afterwards, nothing of the body is in memory."""
    headers = {"Content-Type": "application/json"}
    sizes: list[int] = []

    def look(_outcomes: Sequence[Outcome], _new_secrets: object) -> None:
        sizes.append(tracemalloc.get_traced_memory()[0])

    client.post("/vault/secret/create-batch", data=b"{}", headers=headers)
    gc.collect()
    gc.disable()
    attempts_finished.connect(look)
    tracemalloc.start()
    try:
        with client.post("/vault/secret/create-batch", data=body, headers=headers) as reply:
            assert reply.status_code == status
        sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
        attempts_finished.disconnect(look)
        gc.enable()
    # An item of a batch is recorded while its values are in memory.
    assert max(sizes if status > 200 else sizes[1:]) < MIB


def test_a_field_twice_in_a_large_body_is_400(client: FlaskClient) -> None:
    """Large bodies are read as strictly as small ones."""
    body = b'{"secrets": [{"secret": "YQ==", "secret": "YQ=="}]}'.ljust(MIB)
    headers = {"Content-Type": "application/json"}
    assert client.post("/vault/secret/create-batch", data=body, headers=headers).status_code == 400

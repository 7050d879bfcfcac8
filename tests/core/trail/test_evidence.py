"""Heads of the service's log as evidence."""

import json
from typing import Any

import pytest

from tests.support.rotation import new_key
from vault.common.errors import InvalidCheckpointError
from vault.core.crypto import Keyring
from vault.core.crypto.audit_chain import SigningKey
from vault.core.trail.evidence import Evidence
from vault.core.trail.streams import signing_keys

KEYRING, OTHER = Keyring(new_key()), Keyring(new_key())
HEAD = {"stream": "2-" + "9f" * 15, "seq": 7, "ts": "2026-11-24T12:00:00.000Z", "hash": "9f" * 32}


def head_of(keyring: Keyring = KEYRING, **change: Any) -> dict[str, Any]:
    """Return a head as a worker logs it, with *change* after its signature."""
    key = SigningKey(keyring.primary)
    signed = {"signer": key.public.signer, "signature": key.sign(HEAD["hash"].encode())}
    return {**HEAD, **signed, **change}


@pytest.mark.promise(3)
def test_only_signed_heads_of_the_log_count() -> None:
    """Of each stream, the newest head that a known key signed counts; other lines are ignored."""
    evidence = Evidence(signing_keys.own(KEYRING))
    lines = [
        json.dumps({"message": "audit head", "head": head_of()}),
        json.dumps(head_of(seq=9)),
        json.dumps(head_of(seq=8)),
        *map(json.dumps, (HEAD, head_of(OTHER), head_of(hash="00"), head_of(hash="\ud800"), head_of(ts=1))),
        *map(json.dumps, (head_of(seq="9"), head_of(seq=9.5), head_of(stream=["a"]), head_of(signer=[]))),
        *map(json.dumps, (head_of(stream=5), head_of(stream=None), head_of(seq=True))),
        *("", "a request", "[]", "7", '{"head": 7}', "[" * 50_000),
    ]
    assert [*evidence.read_heads(lines)] == []
    assert (evidence.logged, evidence.heads) == (1, {HEAD["stream"]: head_of(seq=9)})
    with pytest.raises(InvalidCheckpointError, match="no line has a head"):
        list(evidence.read_heads(lines[3:]))

"""Certificates: signed statements of who knows and uses which value, which verify against an export.

A certificate has a question, the exposures and uses that answer it, and the newest entry of each stream at
that time: its heads. The entries up to the heads prove these and no others. The signature covers everything
else, in canonical JSON, after a purpose.

The trail does not say which secret has a name, which principal a token is, and which version is current: the
service looks these up, and states them in the question.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from vault.common.errors import InvalidCheckpointError, SecretNotFoundError, TokenNotFoundError, VaultError
from vault.common.text import unique_names
from vault.common.timestamps import moment
from vault.core.attempt import Action, Attempt
from vault.core.crypto import Keyring, encoding
from vault.core.crypto.audit_chain import SigningKey, VerifyingKey
from vault.core.documents.guard import storage_errors
from vault.core.documents.token import StoredTokenKey, Token
from vault.core.principal import OPERATOR
from vault.core.trail import reader
from vault.core.trail.activity import shown_name
from vault.core.trail.claims import Proof
from vault.core.trail.findings import NO_PLACE, Finding, Gravity
from vault.core.trail.reader import SETTLED_SECONDS, Filter
from vault.core.trail.streams import checkpoint
from vault.core.trail.verifier import Verifier, read_on, retention_start, verify_records
from vault.features.exposure import lookup
from vault.features.exposure.answer import Answer
from vault.features.exposure.knowledge import Question

_FORMAT = 1
#: What a signature covers before the certificate itself.
PURPOSE = b"secret-manager exposure certificate "

_BY_DROPPED = "the certificate's master key was dropped: its holder could have made it at any time"

#: The members of a query that the trail does not show.
_LOOKED_UP = frozenset({"secret_ids", "principals", "current"})

#: The secrets that one query looks up.
_SECRETS_AT_ONCE = 1_000


class Certificate(Answer):
    """A genuine certificate, to compare with a trail."""

    def __init__(self, made: Mapping[str, Any], signer: str) -> None:
        """Prepare for the trail to compare with, of the certificate *made*, which *signer* signed."""
        self.signer = signer
        #: What was asked, without what the trail does not say.
        self.question = {name: one for name, one in made["query"].items() if name not in _LOOKED_UP}
        super().__init__(made["query"], {head["stream"]: head for head in made["heads"]})
        self._listed = {
            (one["secret_id"], one["version"], one["principal"]): one for one in made["exposures"]
        }
        # A release before brokers listed none.
        self._listed_uses = {
            ((one["secret_id"], one["version"], one["principal"]), one["host"]): one
            for one in made.get("uses", ())
        }
        #: The numbers of exposures and uses by outcome. The `stale` ones are not listed, as the query says.
        self.counts = {"proved": 0, "unproved": 0, "past_retention": 0, "stale": 0}

    def unproved(self, proof: Proof, /) -> Iterator[Finding]:
        """Yield, after the last entry, a finding for each exposure that the trail contradicts."""
        yield from super().unproved(proof)
        if self.signer in proof.bounds or self.signer in proof.dropped:
            yield Finding(*NO_PLACE, _BY_DROPPED, Gravity.LOOK)
        current = self.query["current"]
        exposures, uses = self.exposures(current), self.uses(current)
        self.counts["stale"] = self.row_count - len(exposures) - len(uses)
        yield from self._differences(self._listed, exposures, proof)
        yield from self._differences(self._listed_uses, uses, proof)

    def _differences(
        self,
        all_listed: Mapping[Any, Mapping[str, Any]],
        found: Mapping[Any, Mapping[str, Any]],
        proof: Proof,
    ) -> Iterator[Finding]:
        for key in sorted(all_listed.keys() | found.keys()):
            listed = all_listed.get(key)
            if listed == found.get(key):
                self.counts["proved"] += 1
            elif listed and (
                listed["first_at"] < proof.kept_since
                or (proof.kept_since and "unwrap" in listed.get("how", ()))
            ):
                # An unwrap proves nothing without the entry of the wrapped reply, which is older.
                self.counts["past_retention"] += 1
            else:
                self.counts["unproved"] += 1
                yield _difference(listed, found.get(key))


def _difference(listed: Mapping[str, Any] | None, found: Mapping[str, Any] | None) -> Finding:
    one = listed or found or {}
    last, name = one["last_entry"], shown_name(one["secret_id"], one["name"], one["namespace"])
    does = f"uses, at {one['host']}," if "host" in one else "knows"
    about = f"{one['principal']} {does} version {one['version']} of {name}"
    if listed is None:
        text = f"proves that {about}: the certificate does not list it"
    elif found is None:
        text = f"does not prove that {about}: the certificate lists it"
    else:
        text = f"proves otherwise than the certificate that {about}"
    return Finding(last["stream"], last["seq"], text, is_gap=found is None)


def make(
    question: Question, keyring: Keyring, *, retention_days: int, progress: Callable[[int], None]
) -> dict[str, Any]:
    """Return the certificate that answers *question*, after the whole trail is verified.

    *progress* is called with 1 after each entry. MongoDB may remove entries that are *retention_days* old; 0
    if they are permanent.

    Raises:
        StorageUnavailableError: MongoDB is unavailable.
        VaultError: The trail is not what the service wrote, which is put on record, or changed meanwhile.
    """
    began = datetime.now(UTC)
    with storage_errors():
        query = _query(question, began, keyring)
    answer = Answer(query, {head["stream"]: head for head in checkpoint.heads(keyring)})
    verifier = Verifier.of_database(
        keyring,
        kept_since=lambda: retention_start(retention_days, datetime.now(UTC)),
        heads=answer.heads,
        retention_days=retention_days,
        claims=[answer],
    )
    records = reader.counted(reader.export(Filter()), progress)
    findings = verify_records(verifier, records, partial(read_on, began=began))
    is_tampered = any(one.tampering for one in findings)
    if is_tampered:
        reader.record(Attempt(action=Action.AUDIT_TAMPERING, principal=OPERATOR))
    # What is left out was hidden for a moment, or the clocks differ.
    if is_tampered or answer.left_out:
        raise VaultError(
            "the trail is not what the service wrote, or was hidden in part",
            hint="run `secret-manager audit verify`; see docs/runbook.md",
        )
    with storage_errors():
        query["current"] = _current(answer.secret_ids.union(query["secret_ids"] or ()), began)
    return _signed(query, answer, keyring)


def read(text: str, keys: Mapping[str, VerifyingKey]) -> Certificate:
    """Return the certificate in *text*.

    Raises:
        InvalidCheckpointError: *text* is not a certificate, or none of *keys* signed it.
    """
    try:
        made = json.loads(text, object_pairs_hook=unique_names)
        signature, signer = made.pop("signature"), made["public_key"]
        signed = PURPOSE + encoding.canonical(made)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        raise InvalidCheckpointError("this is not a certificate") from None
    if (key := next((key for key in keys.values() if key.pem() == signer), None)) is None:
        raise InvalidCheckpointError("the certificate is not signed by a key that is known")
    if not key.verifies(signature, signed):
        raise InvalidCheckpointError("the certificate was altered: its signature is of another content")
    if made["format"] != _FORMAT:
        raise InvalidCheckpointError("the certificate is of a later release")
    return Certificate(made, key.signer)


def _signed(query: Mapping[str, Any], answer: Answer, keyring: Keyring) -> dict[str, Any]:
    key = SigningKey(keyring.primary)
    made = {
        "format": _FORMAT,
        "query": query,
        "exposures": list(answer.exposures(query["current"]).values()),
        "uses": list(answer.uses(query["current"]).values()),
        "heads": list(answer.heads.values()),
        "public_key": key.public.pem(),
    }
    return {**made, "signature": key.sign(PURPOSE + encoding.canonical(made))}


def _query(question: Question, now: datetime, keyring: Keyring) -> dict[str, Any]:
    """Return *question* with what the trail does not say, as of *now*."""
    secret: dict[str, Any] | None = None
    ids: list[str] | None = None
    if question.is_about_secret:
        owner = {"name": question.secret_name, "namespace": question.namespace}
        secret = owner if question.secret_id is None else {"secret_id": question.secret_id}
        ids = sorted(_ids(question))
        if not (ids or question.stale):
            # Anyone who can write to MongoDB can hide it.
            raise SecretNotFoundError("no secret has this name", hint="add --stale for those that had it")
        lookup.require_genuine(ids, keyring)
    if question.token is not None and lookup.is_unknown_accessor(question.token):
        # Likewise. The trail has the names of principals only.
        hint = "add --principal with its name, not --token"
        raise TokenNotFoundError("no token has this accessor", hint=hint)
    given = {
        "secret": secret,
        **{name: getattr(question, name) for name in ("principal", "token", "address", "service", "node")},
        "since": question.since and moment(question.since),
    }
    return {
        **{name: one for name, one in given.items() if one is not None},
        "stale": question.stale,
        "complete_until": moment(now - timedelta(seconds=SETTLED_SECONDS)),
        "secret_ids": ids,
        "principals": lookup.principals_of(question, partial(_require_genuine, keyring)),
    }


def _require_genuine(keyring: Keyring, token: Token) -> None:
    """Require that *token* is as the service wrote it: an attacker may have given it another name."""
    stored = StoredTokenKey.stored()
    if stored is None or not token.is_genuine(stored.decrypt(keyring)):
        raise VaultError("the record of the token with this accessor was altered")


def _ids(question: Question) -> set[str]:
    found, is_last, after = set[str](), False, ""
    while not is_last:
        ids, is_last = lookup.ids_of(question, after)
        found |= set(ids)
        after = max(ids, default="")
    return found


def _current(ids: Iterable[str], began: datetime) -> dict[str, int | None]:
    """Return the current version of each secret that was not written since the scan *began*.

    Of a version that was written meanwhile, reads can be beyond the heads.
    """
    ordered, found = sorted(ids), dict[str, int | None]()
    for at in range(0, len(ordered), _SECRETS_AT_ONCE):
        found |= lookup.current_versions(ordered[at : at + _SECRETS_AT_ONCE], before=began)
    return found

"""Trusted signing keys of the audit trail: their endorsements and retirements.

Functions that read MongoDB raise `StorageUnavailableError`.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Set
from datetime import UTC, datetime
from typing import Any

from vault.common.timestamps import moment
from vault.core.crypto import Keyring
from vault.core.crypto.audit_chain import SigningKey, VerifyingKey
from vault.core.documents import keys_in_use, registry
from vault.core.documents.audit import AuditKey, Record
from vault.core.documents.guard import storage_errors
from vault.core.trail.streams import retirement
from vault.core.trail.streams.retirement import Heads, Part
from vault.core.trail.streams.summaries import Listed

#: The maximum size of a document that is read: a part of a retirement has about 64 KiB, a key with a thousand
#: endorsements twice as many.
_MAX_KEY_BYTES = 262_144


def own(keyring: Keyring) -> dict[str, VerifyingKey]:
    """Return the public keys of *keyring*, by signer."""
    return {key.signer: key for key in (SigningKey(master_key).public for master_key in keyring)}


def trusted(keyring: Keyring) -> dict[str, VerifyingKey]:
    """Return the trusted keys, by signer: the keys of *keyring*, and the keys that they endorse.

    Endorsements by a dropped or retired key are ignored: its holder could add a key of their own, which no
    process retires before it signs. Each primary key endorses all earlier keys itself.
    """
    mine = own(keyring)
    parts = _retirements(mine)
    gone = retirement.bounds(mine, parts)
    endorsers = {signer: key for signer, key in mine.items() if signer not in gone}
    endorsed = {
        key.signer: key
        for key, endorsements in _candidates()
        if key.signer not in mine and any(_endorsers(key, endorsements, endorsers))
    }
    return mine | endorsed


def endorse(keyring: Keyring) -> None:
    """Endorse all trusted keys with the primary key, before one of them is dropped."""
    primary = SigningKey(keyring.primary)
    for signer, key in trusted(keyring).items():
        if signer != primary.public.signer:
            signature = primary.sign(key.endorsement)
            with storage_errors():
                AuditKey.objects(id=signer).update_one(
                    upsert=True,
                    set__public_key=key.raw.hex(),
                    **{f"set__endorsements__{primary.public.signer}": signature},
                )


def retirements(keyring: Keyring) -> list[Part]:
    """Return the parts of retirements in `audit_keys` that a key of *keyring* signed.

    Dropped keys are not trusted here: one could retire the keys that came after it.
    """
    return _retirements(own(keyring))


def dropped(keyring: Keyring) -> set[str]:
    """Return the trusted signers that are no longer in *keyring*."""
    return trusted(keyring).keys() - own(keyring).keys()


def retired(keyring: Keyring) -> dict[str, Heads]:
    """Return the heads of each retired key, by signer."""
    return retirement.bounds(trusted(keyring), retirements(keyring))


def is_primary_retired(keyring: Keyring) -> bool:
    """Return whether another key of *keyring* has retired the primary one."""
    primary, *others = own(keyring)
    parts = retirements(keyring)
    # A key that the primary key has retired cannot retire the primary key.
    by_primary = retirement.bounds([primary, *others], [part for part in parts if part.by == primary])
    proofs = [part for part in parts if part.by in others and part.by not in by_primary]
    return any(signer == primary for signer, _, _ in retirement.complete(proofs))


def retire(
    keyring: Keyring,
    heads: Callable[[Listed], Iterable[Record]],
    record: Callable[[dict[str, Any]], None],
    *,
    settled: Collection[str] = (),
) -> set[str]:
    """Retire each key that signed and is no longer in any keyring, as of now.

    A key that never signed was only a fallback: it is not retired and can still become primary. Returns the
    keys that the next call can skip as *settled*.

    The primary key signs the retirements. It repeats those by an earlier key, which is dropped in its turn.
    *heads* returns the heads of the trail apart from summaries, as `checkpoint.newest_signed`. *record*
    writes a part into the trail. Only then does `audit_keys` get the part, so an interrupted retirement is
    repeated.

    Does nothing while other processes hold keys that are not in *keyring*, because those can still sign; nor
    while the trail is disabled, because nothing may follow its last entry.
    """
    primary = SigningKey(keyring.primary)
    candidates = dropped(keyring).difference(settled)
    if not candidates:
        return set()
    missing = _unretired(candidates, keyring)
    if not missing:
        return candidates
    if _are_other_keys_held(keyring) or _is_trail_disabled():
        return set()
    known = retired(keyring)
    listed = Listed(keyring)
    newest = [] if known.keys() >= missing else list(heads(listed))
    # Retention can remove everything that a key signed; but as primary key, it endorsed its fallbacks.
    used = known.keys() | {head["signer"] for head in newest} | listed.signers
    used |= _former_primaries(trusted(keyring))
    # Another process can have retired some meanwhile.
    for signer in sorted(_unretired(missing & used, keyring)):
        # Of other keys, too: their entries can be summaries of streams that this key signed.
        ends: Iterable[Record] = newest
        if signer in known:
            ends = ({"stream": name, **head.row()} for name, head in known[signer].items())
        for made in retirement.make(signer, ends, primary, moment(datetime.now(UTC))):
            record(made)
            name = f"{signer} retired {made['id']} {made['part']}"
            with storage_errors():
                AuditKey.raw().insert_one({"_id": name, "retirement": made})
    return candidates


def _retirements(keys: Mapping[str, VerifyingKey]) -> list[Part]:
    """Return the parts of retirements in `audit_keys` that one of *keys* signed."""
    stored = _stored({"retirement": {"$exists": True}})
    parts = (Part.of(document["retirement"], keys) for document in stored)
    return [part for part in parts if part]


def _unretired(signers: Set[str], keyring: Keyring) -> Set[str]:
    """Return the *signers* that the primary key has not retired."""
    primary = SigningKey(keyring.primary).public.signer
    by_primary = (part for part in retirements(keyring) if part.by == primary)
    return signers - {signer for signer, _, _ in retirement.complete(by_primary)}


def _are_other_keys_held(keyring: Keyring) -> bool:
    """Return whether a key that is not in *keyring* is in use, or held by a running worker."""
    with storage_errors():
        claims = registry.claims()
        missing = keys_in_use.stored_key_ids(key.id for key in keyring)
    held = {key_id for claim in claims for key_id in (claim.key_id, *claim.held)}
    return bool(missing) or any(key_id not in keyring for key_id in held)


def _is_trail_disabled() -> bool:
    with storage_errors():
        return registry.trail_state().enabled is False


def _stored(query: dict[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the documents of *query*, one at a time, except those that are larger than the service's."""
    small = {"$expr": {"$lte": [{"$bsonSize": "$$ROOT"}, _MAX_KEY_BYTES]}}
    with storage_errors():
        keys = AuditKey.raw()
        # Text that is not UTF-8 must not prevent reading the other documents.
        options = keys.codec_options.with_options(unicode_decode_error_handler="replace")
        yield from keys.with_options(codec_options=options).find(query | small)


def _candidates() -> Iterator[tuple[VerifyingKey, Mapping[str, Any]]]:
    """Yield the stored keys and their endorsements; both can be forged."""
    for stored in _stored({"retirement": {"$exists": False}, "witnessed": {"$exists": False}}):
        key, endorsements = VerifyingKey.of(stored.get("public_key")), stored.get("endorsements")
        if key and isinstance(endorsements, dict):
            yield key, endorsements


def _endorsers(
    key: VerifyingKey, endorsements: Mapping[str, Any], keys: Mapping[str, VerifyingKey]
) -> Iterator[str]:
    """Yield the *keys* that endorse *key*."""
    for signer, signature in endorsements.items():
        if signer in keys and keys[signer].verifies(signature, key.endorsement):
            yield signer


def _former_primaries(keys: Mapping[str, VerifyingKey]) -> set[str]:
    """Return the *keys* that have endorsed another key: each was primary at that time."""
    return {signer for candidate in _candidates() for signer in _endorsers(*candidate, keys)}

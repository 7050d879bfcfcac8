"""The kinds of edits, each with its own random choices."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from bson import Binary, Code, Decimal128, Int64, ObjectId, encode
from bson.raw_bson import RawBSONDocument

from tests.qa.edits.victim import Documents, Victim
from tests.support.rotation import new_key
from vault.core.crypto import audit_chain
from vault.core.crypto.audit_chain import SigningKey
from vault.core.documents.audit import record_of
from vault.core.trail.streams import retirement

Document = dict[str, Any]

#: The attacker's own key, which no trusted key endorses.
FORGER = SigningKey(new_key())

#: The name of the collection after `recreate`.
_RENAMED = "elsewhere"

_FIELDS = (
    *("ts", "action", "status", "principal", "secret_id", "ip", "ua", "request_id", "details"),
    *("stream", "seq", "previous", "previous_ts", "replaces", "hash", "signer", "signature"),
)


class Attack:
    """One attacker: the victim, and a source of choices."""

    def __init__(self, victim: Victim, random: Random) -> None:
        self.random = random
        self.entries = victim.stored.audit_logs
        self.keys = victim.stored.audit_keys
        self.documents = victim.documents["audit_logs"]
        self.earlier: list[Documents] = [*victim.earlier, victim.documents]

    def entry(self) -> Document:
        """Return any entry."""
        return dict(self.random.choice(self.documents))

    def stream(self) -> list[Document]:
        """Return the entries of any stream, in order."""
        name = self.random.choice(sorted({one["stream"] for one in self.documents}))
        return sorted((dict(one) for one in self.documents if one["stream"] == name), key=_seq)

    def free(self) -> None:
        """Remove the index that keeps numbers unique."""
        self.entries.drop_indexes()

    def replace(self, old: Document, new: Document) -> None:
        """Replace *old* by *new*, with the same `_id`."""
        self.entries.replace_one({"_id": old["_id"]}, {**new, "_id": old["_id"]})

    def value(self, name: str) -> Any:
        """Return a value for a field of this *name*: another entry's value, or junk."""
        others = [one[name] for one in self.documents if name in one]
        time = datetime(2026, 11, 24, tzinfo=UTC) + timedelta(seconds=self.random.randrange(10**7))
        junk = [None, "", "x", 0, 1, -1, 0.5, True, Int64(1), Decimal128("1"), [], {}, time, b"x", Code("x")]
        return self.random.choice([*junk, *self.random.sample(others, min(len(others), 15))])


def _seq(document: Mapping[str, Any]) -> int:
    return int(document["seq"])


def chained(document: Document, previous: Document | None, key: SigningKey | None = None) -> Document:
    """Return *document* with correct hashes and links; signed by *key*, if there is one."""
    content = {name: value for name, value in document.items() if name not in ("signer", "signature", "hash")}
    if previous is not None:
        content |= {"previous": audit_chain.link(record_of(previous)), "previous_ts": previous["ts"]}
    content["hash"] = audit_chain.digest(record_of(content))
    if key is not None:
        content |= {"signer": key.public.signer, "signature": key.sign(content["hash"].encode())}
    return content


def delete_some(attack: Attack) -> None:
    """Delete one entry, or several at any place."""
    count = attack.random.choice((1, 1, 2, 5, len(attack.documents)))
    for one in attack.random.sample(attack.documents, count):
        attack.entries.delete_one({"_id": one["_id"]})


def cut(attack: Attack) -> None:
    """Delete a stream's beginning, middle or end, or all of it."""
    stream = attack.stream()
    begin, end = sorted(attack.random.choices(range(len(stream) + 1), k=2))
    part = attack.random.choice((stream[:end], stream[begin:], stream[begin:end], stream))
    attack.entries.delete_many({"_id": {"$in": [one["_id"] for one in part]}})


def change(attack: Attack) -> None:
    """Change, add or remove one field, and keep the hash or compute it again."""
    old = attack.entry()
    name = attack.random.choice(_FIELDS)
    new = {**old, name: attack.value(name)}
    if attack.random.random() < 0.2:
        new.pop(name)
    _refit(attack, new)
    attack.free()
    attack.replace(old, new)


def change_within(attack: Attack) -> None:
    """Change a value inside the details, its type or the order of the fields."""
    old = attack.entry()
    details = old.get("details") or {}
    number = attack.random.choice((Int64(1), 1.0, True, "1", Code("1"), [1], None))
    coded = {name: Code(value) if isinstance(value, str) else value for name, value in details.items()}
    choices = ({**details, "number": number}, {"nested": details}, dict(reversed(details.items())), coded)
    new = {**dict(reversed(old.items())), "details": attack.random.choice(choices)}
    _refit(attack, new)
    attack.replace(old, new)


def _refit(attack: Attack, new: Document) -> None:
    if attack.random.random() < 0.5:
        try:
            new["hash"] = audit_chain.digest(record_of(new))
        except (AttributeError, OverflowError, TypeError, ValueError):
            new["hash"] = "00" * 32


def rechain(attack: Attack) -> None:
    """Change an entry and compute all later hashes and links; the seals are removed, kept or forged."""
    stream = attack.stream()
    start = attack.random.randrange(len(stream))
    stream[start]["secret_id"] = "another"
    seal = attack.random.choice(("removed", "kept", "forged", "forged in the signer's name"))
    for number in range(start, len(stream)):
        old = stream[number]
        key = FORGER if "forged" in seal and "signature" in old else None
        made = chained(old, stream[number - 1] if number else None, key)
        if seal in ("kept", "forged in the signer's name") and "signer" in old:
            made["signer"] = old["signer"]
        if seal == "kept" and "signature" in old:
            made["signature"] = old["signature"]
        stream[number] = made
        attack.replace(old, made)


def append(attack: Attack) -> None:
    """Chain up to 100 entries to the end of a stream, or to an earlier entry of it."""
    stream = attack.stream()
    at = attack.random.choice((len(stream) - 1, attack.random.randrange(len(stream))))
    last = stream[at]
    attack.free()
    if attack.random.random() < 0.3:
        attack.entries.delete_many({"stream": last["stream"], "seq": {"$gt": last["seq"]}})
    count = attack.random.choice((1, 2, 100, 101))
    for number in range(1, count + 1):
        content = {**attack.entry(), "stream": last["stream"], "seq": last["seq"] + 1, "ts": last["ts"]}
        content |= {"_id": new_id(content["ts"]), "secret_id": f"forged-{number}"}
        key = FORGER if number == count and attack.random.random() < 0.5 else None
        last = chained(content, last, key)
        attack.entries.insert_one(last)


def squeeze_in(attack: Attack) -> None:
    """Insert an entry whose number is in use, between two others, or invalid."""
    old = attack.entry()
    seq = attack.random.choice(
        (
            old["seq"],
            old["seq"] + 0.5,
            -1,
            float("nan"),
            Int64(old["seq"]),
            Decimal128(str(old["seq"])),
            "1",
            [1],
        )
    )
    attack.free()
    new = {**old, "_id": new_id(old["ts"]), "seq": seq, "secret_id": "forged"}
    _refit(attack, new)
    attack.entries.insert_one(new)


def duplicate(attack: Attack) -> None:
    """Insert an entry again, unchanged or with another stream."""
    attack.free()
    new = {
        **attack.entry(),
        "_id": attack.random.choice((new_id(datetime.now(UTC)), "text", 5, Binary(b"x"))),
    }
    if attack.random.random() < 0.5:
        new["stream"] = attack.random.choice(("ff" * 16, attack.entry()["stream"], ["a"], None))
    attack.entries.insert_one(new)


def swap(attack: Attack) -> None:
    """Swap the contents, the numbers or the seals of two entries."""
    one, other = attack.entry(), attack.entry()
    names = attack.random.choice(
        (
            ("seq",),
            ("stream", "seq"),
            ("hash", "signer", "signature"),
            ("action", "secret_id", "request_id", "details"),
            ("ts", "previous_ts"),
            _FIELDS,
        )
    )
    attack.free()
    for into, source in ((one, other), (other, one)):
        made = {name: value for name, value in into.items() if name not in names}
        attack.replace(into, made | {name: source[name] for name in names if name in source})


def redate(attack: Attack) -> None:
    """Move the times of a stream, with matching hashes and links."""
    stream = attack.stream()
    by = timedelta(seconds=attack.random.choice((-(10**7), -60, -0.001, 0.001, 60, 10**7)))
    start = attack.random.choice((0, len(stream) - 1, attack.random.randrange(len(stream))))
    for number in range(start, len(stream)):
        old = stream[number]
        made = chained({**old, "ts": old["ts"] + by}, stream[number - 1] if number else None)
        stream[number] = made | {name: old[name] for name in ("signer", "signature") if name in old}
        attack.replace(old, stream[number])


def new_stream(attack: Attack) -> None:
    """Add a stream, unsigned or signed by the attacker, with or without a claim to replace others."""
    name = attack.random.choice(("00" * 16, "ff" * 16, "retired"))
    replaced = attack.stream()[-1]
    left = {"stream": replaced["stream"], "seq": replaced["seq"] - 1, "ts": "", "hashes": [replaced["hash"]]}
    last: Document | None = None
    for number in range(attack.random.choice((1, 3))):
        content = {**attack.entry(), "stream": name, "seq": number, "ts": replaced["ts"]}
        content = {
            key: value for key, value in content.items() if not key.startswith(("previous", "replaces"))
        }
        content["_id"] = new_id(content["ts"])
        if number == 0 and attack.random.random() < 0.5:
            content["replaces"] = [left]
        last = chained(content, last, attack.random.choice((None, FORGER)))
        attack.entries.insert_one(last)


def rename_stream(attack: Attack) -> None:
    """Rename a stream, with matching hashes and links."""
    stream = attack.stream()
    last: Document | None = None
    for old in stream:
        made = chained({**old, "stream": "ee" * 16}, last)
        last = made | {name: old[name] for name in ("signer", "signature") if name in old}
        attack.replace(old, last)


def excuse(attack: Attack) -> None:
    """Append entries behind a stream, and list them in the successor that names it."""
    successors = [one for one in attack.documents if "replaces" in one]
    successor = dict(attack.random.choice(successors))
    replaces = [dict(left) for left in successor["replaces"]]
    left = attack.random.choice(replaces)
    known = [one for one in attack.documents if one["stream"] == left["stream"]]
    last = max(known, key=_seq, default=None)
    content = {**attack.entry(), "stream": left["stream"], "seq": last["seq"] + 1 if last else 0}
    content = {
        name: value for name, value in content.items() if not name.startswith(("previous", "replaces"))
    }
    content |= {"_id": new_id(content["ts"]), "ts": last["ts"] if last else content["ts"]}
    forged = chained(content, last)
    attack.entries.insert_one(forged)
    if attack.random.random() < 0.5:
        left["hashes"] = [*left["hashes"], forged["hash"]]
        attack.replace(successor, {**successor, "replaces": replaces})
    elif attack.random.random() < 0.5:
        del left["hashes"]
        attack.replace(successor, {**successor, "replaces": replaces})


def double_field(attack: Attack) -> None:
    """Store an entry with a duplicate field, or with text that is not UTF-8."""
    old = attack.entry()
    raw = encode(old)
    if attack.random.random() < 0.5:
        name = attack.random.choice(("action", "secret_id", "seq", "stream", "hash"))
        extra = encode({name: attack.random.choice((attack.value(name), old.get(name)))})[4:-1]
        raw = (len(raw) + len(extra)).to_bytes(4, "little") + raw[4:-1] + extra + b"\0"
    else:
        raw = raw.replace(b"curl/8", b"cur\xff/8")
    attack.free()
    attack.entries.delete_one({"_id": old["_id"]})
    attack.entries.insert_one(RawBSONDocument(raw))


def remove_keys(attack: Attack) -> None:
    """Remove endorsements and retirements of keys, or restore earlier ones."""
    if attack.random.random() < 0.5:
        attack.keys.delete_one({"_id": attack.random.choice(list(attack.keys.find()))["_id"]})
        return
    attack.keys.delete_many({})
    if earlier := attack.random.choice([[], *(documents["audit_keys"] for documents in attack.earlier)]):
        attack.keys.insert_many(earlier)


def forget_key(attack: Attack) -> None:
    """Remove a key, every stream that it signed, and the unsigned ones, as if it had never been."""
    signer = attack.random.choice(sorted({one["signer"] for one in attack.documents if "signer" in one}))
    others = {one["stream"] for one in attack.documents if one.get("signer", signer) != signer}
    attack.entries.delete_many({"stream": {"$nin": [*others]}})
    attack.keys.delete_many({"_id": {"$regex": f"^{signer}"}})


def forge_keys(attack: Attack) -> None:
    """Forge an endorsement or a retirement of a key."""
    signer = attack.random.choice([one for one in attack.documents if "signer" in one])["signer"]
    [part] = retirement.make(signer, [], FORGER, "2026")
    by = attack.random.choice([FORGER.public.signer, *(one["signer"] for one in attack.documents[-1:])])
    signature = FORGER.sign(FORGER.public.endorsement)
    forged = {"public_key": FORGER.public.raw.hex(), "endorsements": {by: signature}}
    attack.keys.insert_one({"_id": FORGER.public.signer, **forged})
    attack.keys.insert_one({"_id": "forged", "retirement": {**part, "by": by}})


def spoil_keys(attack: Attack) -> None:
    """Put junk into endorsements and retirements of keys."""
    field = attack.random.choice(("heads", "signer", "by", "ts", "id", "part", "parts", "signature"))
    junk = attack.random.choice(([], 0, "x", None, {"a": 1}, b"x"))
    where = attack.random.choice((f"retirement.{field}", "retirement", "public_key", "endorsements"))
    attack.keys.update_many({}, {"$set": {where: junk}})
    raw = encode({"_id": "junk", "public_key": "x?", "retirement": {"by": "y?"}}).replace(b"?", b"\xff")
    attack.keys.insert_one(RawBSONDocument(raw))


def move_retirement(attack: Attack) -> None:
    """Alter, copy or empty the entry that retires a key."""
    [*entries] = [one for one in attack.documents if one["action"] == "signer_retired"]
    old = dict(attack.random.choice(entries))
    details = dict(old["details"])
    kind = attack.random.randrange(3)
    if kind == 0:
        details["heads"] = []
        attack.replace(old, {**old, "details": details})
    elif kind == 1:
        other = attack.entry()
        attack.replace(other, {**other, "action": old["action"], "details": details})
    else:
        content = {**old, "_id": new_id(old["ts"]), "stream": "dd" * 16, "seq": 0}
        attack.entries.insert_one(chained(content, None))


def drop_indexes(attack: Attack) -> None:
    """Drop all indexes, or create others that keep, sort or remove differently."""
    attack.free()
    if attack.random.random() < 0.5:
        attack.entries.create_index([("seq", -1), ("stream", -1)])


def recreate(attack: Attack) -> None:
    """Create the collection again, with other options or as a view, and the same entries."""
    choices: tuple[Document, ...] = (
        {"capped": True, "size": 10**7},
        {"clusteredIndex": {"key": {"_id": 1}, "unique": True}},
        {"collation": {"locale": "en"}},
        {"timeseries": {"timeField": "ts", "metaField": "stream"}},
        {"validator": {"seq": {"$gte": 0}}},
        {"viewOn": _RENAMED, "pipeline": []},
    )
    options = attack.random.choice(choices)
    attack.entries.rename(_RENAMED, dropTarget=True)
    made = attack.entries.database.create_collection(attack.entries.name, **options)
    if "viewOn" not in options:
        made.insert_many(attack.documents)


def combine(attack: Attack) -> None:
    """Apply two or three of the others, one after the other."""
    for _ in range(attack.random.choice((2, 3))):
        attack.random.choice(EDITS[:-1])(attack)


def move_id(attack: Attack) -> None:
    """Store an entry again with another `_id` of the same second, or swap those of two entries."""
    old = attack.entry()
    attack.entries.delete_one({"_id": old["_id"]})
    attack.entries.insert_one({**old, "_id": ObjectId(old["_id"].binary[:4] + attack.random.randbytes(8))})


def new_id(time: datetime) -> ObjectId:
    return ObjectId(int(time.timestamp()).to_bytes(4, "big") + ObjectId().binary[4:])


Edit = Callable[[Attack], None]

EDITS: list[Edit] = [
    *(delete_some, cut, change, change_within, rechain, append, squeeze_in, duplicate, swap, redate),
    *(
        new_stream,
        rename_stream,
        excuse,
        double_field,
        remove_keys,
        forget_key,
        forge_keys,
        spoil_keys,
        move_retirement,
        drop_indexes,
    ),
    move_id,
    recreate,
    combine,
]

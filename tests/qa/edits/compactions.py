"""Edits of closed streams, and of the summaries that list them."""

from contextlib import suppress
from typing import Any

from tests.qa.edits.edits import EDITS, FORGER, Attack, Document, Edit, chained, new_id
from vault.core.documents.audit import record_of
from vault.core.trail.streams.summaries import details_of


def _summaries(attack: Attack) -> list[Document]:
    return [dict(one) for one in attack.documents if one["action"] == "streams_compacted"]


def _listed(attack: Attack) -> str:
    rows: list[Any] = attack.random.choice(_summaries(attack))["details"]["heads"]
    return str(attack.random.choice(rows)[0])


def _of(attack: Attack, name: str) -> list[Document]:
    return sorted(
        (dict(one) for one in attack.documents if one["stream"] == name), key=lambda one: one["seq"]
    )


def forge_summary(attack: Attack) -> None:
    """Add a summary of open or of all streams, at the end of a stream or in a new one."""
    newest = {one["stream"]: one for one in sorted(attack.documents, key=lambda one: one["seq"])}
    ends = [record_of(one) for one in newest.values() if "signer" in one]
    [*some] = attack.random.sample(ends, attack.random.randint(1, len(ends)))
    last = attack.random.choice((None, attack.stream()[-1]))
    content = {**attack.random.choice(_summaries(attack)), "details": details_of(some)}
    if last is None:
        content |= {"stream": "ab" * 16, "seq": 0}
        content = {name: value for name, value in content.items() if not name.startswith("previous")}
    else:
        content |= {"stream": last["stream"], "seq": last["seq"] + 1, "ts": last["ts"]}
    content["_id"] = new_id(content["ts"])
    attack.entries.insert_one(chained(content, last, attack.random.choice((None, FORGER))))
    if attack.random.random() < 0.5:
        attack.entries.delete_many({"stream": attack.random.choice(some)["stream"]})


def alter_summary(attack: Attack) -> None:
    """Change, remove or add a row of a summary, and what the row was about."""
    old = attack.random.choice(_summaries(attack))
    rows = [[*row] for row in old["details"]["heads"]]
    row = attack.random.choice(rows)
    choice = attack.random.randrange(4)
    if choice == 0:
        rows.remove(row)
    elif choice == 1:
        row[1] += attack.random.choice((-1, 1, 5))
    elif choice == 2:
        row[attack.random.choice((0, 2, 3))] = attack.random.choice(("", 0, None, [], attack.entry()["hash"]))
    else:
        rows.append([*attack.random.choice(rows)])
    new = {**old, "details": {**old["details"], "heads": rows}}
    # Some values have no form in JSON: then no hash fits.
    with suppress(OverflowError, TypeError, ValueError):
        new = chained(new, None)
    seals = {name: old[name] for name in ("signer", "signature")}
    attack.replace(old, new | seals | attack.random.choice(({}, {"hash": old["hash"]})))
    if attack.random.random() < 0.5:
        attack.entries.delete_many({"stream": row[0], "seq": {"$gte": attack.random.randrange(3)}})


def remove_closed(attack: Attack) -> None:
    """Remove a closed stream or its end, with or without the summaries that list it."""
    name = _listed(attack)
    start = attack.random.choice((0, len(_of(attack, name)) - 1))
    attack.entries.delete_many({"stream": name, "seq": {"$gte": start}})
    if attack.random.random() < 0.7:
        attack.entries.delete_many(
            {"action": "streams_compacted", "details.heads": {"$elemMatch": {"0": name}}}
        )
    if attack.random.random() < 0.5:
        for one in _summaries(attack):
            attack.entries.delete_many({"stream": one["stream"], "seq": {"$gte": one["seq"]}})


def revive(attack: Attack) -> None:
    """Continue a closed stream, after its end or instead of it."""
    stream = _of(attack, _listed(attack))
    if attack.random.random() < 0.5:
        attack.entries.delete_one({"_id": stream.pop()["_id"]})
    last = stream[-1]
    content = {**attack.entry(), "stream": last["stream"], "seq": last["seq"] + 1, "ts": last["ts"]}
    content |= {"_id": new_id(last["ts"]), "action": attack.random.choice(("fetch", "stream_closed"))}
    attack.entries.insert_one(chained(content, last, attack.random.choice((None, FORGER))))


def replay_summary(attack: Attack) -> None:
    """Put a genuine summary to another place, in place of another entry or in addition."""
    summary, other = attack.random.choice(_summaries(attack)), attack.entry()
    attack.free()
    if attack.random.random() < 0.5:
        attack.replace(other, summary)
        return
    place = {
        "stream": attack.random.choice(("ab" * 16, other["stream"])),
        "seq": attack.random.choice((0, 99)),
    }
    attack.entries.insert_one({**summary, **place, "_id": new_id(summary["ts"])})


def replace_closed(attack: Attack) -> None:
    """Put another stream under the name of a closed one."""
    name, other = _listed(attack), attack.stream()
    attack.free()
    attack.entries.delete_many({"stream": name})
    for one in other:
        content = {**one, "stream": name, "_id": new_id(one["ts"])}
        attack.entries.insert_one(attack.random.choice((content, chained(content, None, FORGER))))


ALL: list[Edit] = [
    *EDITS,
    forge_summary,
    alter_summary,
    remove_closed,
    revive,
    replay_summary,
    replace_closed,
]

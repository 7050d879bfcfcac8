"""Observations of a program, without what always differs: times, IDs, tokens, and descriptions of tokens."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tests.support.openbao import Server

#: Members of replies with random values.
_IDS = {"request_id", "accessor", "wrapped_accessor", "entity_id", "uuid", "cluster_id", "cluster_name"}
_TOKENS = {"client_token", "token", "id"}
#: Members with a time in seconds since 1970, and with a duration in seconds.
_TIMES = {"creation_time", "server_time_utc"}
_DURATIONS = {"ttl", "creation_ttl", "lease_duration"}

#: Members that describe a token or a login by what each server has of its own; other tests have their values.
_OWN = {
    *("policies", "token_policies", "display_name", "entity_id", "role_name"),
    *("last_renewal", "last_renewal_time"),
}

#: Members that are compared as a whole: values, and mounts other than that of secrets.
_WHOLE = (
    *("cubbyhole/", "identity/", "sys/", "token/", "approle/", "jwt/"),
    *("data.data", "custom_metadata"),
)

_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)"
_TOKEN = r"(?:\bs\.[A-Za-z0-9]{24}|(?:smr\.|smj_\w*\.)*(?:<token>|\bsm[tw]_[A-Za-z0-9_-]{20,}))"
_TEXTS = (
    (_TIME, "<time>"),
    (r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "<id>"),
    (_TOKEN, "<token>"),
    # Tables and messages of the command line.
    (
        r"(?m)^((?:token_|wrapping_)?accessor:?|wrapped_accessor:?|entity_id|Cluster Name)( +)\S+$",
        r"\1\2<id>",
    ),
    (r"(?m)^((?:token_duration|ttl|creation_ttl|lease_duration|wrapping_token_ttl) +)\S+$", r"\1<duration>"),
    (r"(?m)^(creation_time|last_renewal_time)( +)(?:\d{9,}|\S+e\+\d+)$", r"\1\2<time>"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\S* \S+ UTC", "<time>"),
)


def masked(server: Server, seen: Any, name: str = "") -> Any:
    """Return *seen*, a JSON value or a text, without times, IDs and tokens."""
    match seen:
        case Mapping():
            return {key: masked(server, value, str(key)) for key, value in seen.items() if key not in _OWN}
        case list() | tuple():
            return [masked(server, value) for value in seen]
        case str():
            return _masked_text(server, seen, name)
        case int() if name in _TIMES and seen:
            return "<time>"
        case int() if name in _DURATIONS and not isinstance(seen, bool):
            return _rounded(seen)
    return seen


def _rounded(seconds: int) -> int:
    """Return *seconds*, rounded to an hour, half an hour or ten minutes: a part of a long TTL has passed."""
    # A short one is a new token's.
    units = ((20 * 3_600, 3_600), (3_000, 1_800), (300, 600))
    unit = next((unit for least, unit in units if seconds >= least), 1)
    return round(seconds / unit) * unit


def _masked_text(server: Server, text: str, name: str) -> str:
    if text and name in _IDS:
        return "<id>"
    if text and (name in _TOKENS or text in server.tokens.values()):
        return "<token>"
    text = text.replace(server.url, "<url>")
    for token in server.tokens.values():
        text = text.replace(token, "<token>")
    for pattern, mask in _TEXTS:
        text = re.sub(pattern, mask, text)
    return text


def fields(seen: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each member of *seen* with its place, such as `body.data.version`."""
    if isinstance(seen, Mapping) and seen and not place.endswith(_WHOLE):
        for key, value in seen.items():
            yield from fields(value, f"{place}.{key}" if place else str(key))
    else:
        yield place, seen


def differing(real: Any, ours: Any) -> list[str]:
    """Return the places at which two observations differ; of replies with other statuses, only these."""
    one, two = dict(fields(real)), dict(fields(ours))
    if one.get("status") != two.get("status"):
        return [f"status:{one.get('status')}-{two.get('status')}"]
    missing = object()
    return sorted(place for place in one | two if not _same(one.get(place, missing), two.get(place, missing)))


def _same(one: Any, two: Any) -> bool:
    # 1, 1.0 and true are equal in Python, and -0.0 is 0: their texts differ.
    return bool(one == two and repr(one) == repr(two))


def explain(real: Any, ours: Any, places: Iterable[str]) -> str:
    """Return the differing values, one line each."""
    one, two = dict(fields(real)), dict(fields(ours))
    if any(place.startswith("status:") for place in places):
        one, two, places = {"reply": real}, {"reply": ours}, ["reply"]
    sides = (("there", one), ("here ", two))
    return "\n".join(
        f"    {place}\n"
        + "\n".join(f"      {side}: {seen.get(place, 'absent')!r:.300}" for side, seen in sides)
        for place in places
    )

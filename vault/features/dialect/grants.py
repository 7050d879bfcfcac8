"""New tokens in Vault's dialect: options of the request, as a grant and warnings."""

import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from werkzeug.exceptions import BadRequest

from vault.common import clock
from vault.common.credentials import has_token
from vault.core.access.tokens.tokens import Grant
from vault.core.principal import MAX_LIFETIME, ROLES, Principal, Scope, is_name, scopes_named
from vault.features.dialect.envelopes import duration, ignored
from vault.toolkit.document.fields import Body, boolean_field, text_field, texts_field

#: Random characters at the end of a new token's name: names of tokens cannot be reused, Vault's can.
_NAME_SUFFIX_BYTES = 6
_MAX_PREFIX_LENGTH = 50

#: A token ends so much earlier than its creator: time passes until it is made.
_MARGIN = timedelta(seconds=5)
#: A cut below this gets no warning: programs ask for the lifetime with which their own token was made.
_SMALL_CUT = timedelta(minutes=1)


class NewClientToken(Body):
    """A token to create."""

    policies = texts_field(
        "Names of roles, and scopes; by default, your own scopes.", ["reader"], required=False
    )
    ttl = text_field("The time until it expires, and for which a renewal extends it.", "1h")
    explicit_max_ttl = text_field("The age beyond which no renewal extends it.", "24h")
    period = text_field("The time for which each renewal extends it, in place of `ttl`.", "1h")
    renewable = boolean_field("Whether it can be renewed.", example=True)
    no_parent = boolean_field("Whether a revocation of your token leaves it valid; requires all rights.")
    display_name = text_field("The beginning of its name.", "ci")


#: Options of a new token that change nothing here, each with the warning.
_HARMLESS = {"meta": "metadata is not kept", "no_default_policy": "there is no default policy"}

#: Options that would limit the token or make it another kind, with the values that mean nothing.
_UNSUPPORTED: dict[str, tuple[str, ...]] = {
    "bound_cidrs": (),
    "entity_alias": (),
    "id": (),
    "num_uses": ("0",),
    "type": ("service", "default"),
}

_KNOWN = {*NewClientToken().fields, "lease", *_HARMLESS, *_UNSUPPORTED}


def grant_in(body: Mapping[str, Any], creator: Principal, *, orphan: bool) -> tuple[Grant, list[str]]:
    """Return the grant that *body* asks for, and warnings. It ends with its *creator* at the latest.

    Raises:
        BadRequest: It has an option that the service cannot honour.
    """
    # Command lines send all their options.
    given = {name: value for name, value in body.items() if value not in (None, False, "")}
    for name, neutral in _UNSUPPORTED.items():
        if name in given and given[name] not in neutral:
            raise BadRequest(f"the option {name} is not supported")
    renewable, no_parent = body.get("renewable", True), given.get("no_parent", False)
    for name, value in (("renewable", renewable), ("no_parent", no_parent)):
        if not isinstance(value, bool):
            raise BadRequest(f"{name} must be true or false")
    ttl, period, longest = _times(given)
    asked = period or ttl
    lifetime = min(asked or longest, longest) if longest else asked
    is_renewable = renewable and bool(lifetime)
    left = _time_left(creator)
    grant = Grant(
        name=_new_name(given.get("display_name") or "token"),
        scopes=_scopes(given.get("policies")) or creator.scopes,
        # A renewal of a periodic token is for all of its period, or until its end.
        lifetime=(period or lifetime) if is_renewable else _within(left, lifetime),
        renewable=is_renewable,
        max_age=_within(left, longest) if is_renewable and longest else None,
        periodic=bool(period),
        orphan=orphan or no_parent,
    )
    asked = asked or longest
    if left and asked - left > _SMALL_CUT:
        longest = min(longest or left, left)
    warnings = capped("period" if period else "TTL", asked, longest)
    warnings += [f"{name}: {_HARMLESS[name]}" for name in sorted(_HARMLESS) if given.get(name)]
    return grant, warnings + ignored(given, *_KNOWN)


def _time_left(creator: Principal) -> timedelta | None:
    """Return the time until the end of *creator*, in whole seconds; None without an end."""
    if creator.expires_at is None:
        return None
    return timedelta(seconds=int((creator.expires_at - clock.now()).total_seconds()))


def _within(left: timedelta | None, time: timedelta) -> timedelta | None:
    """Return *time*, or the time *left* to the creator if that is shorter; None without a time of its own."""
    end = time if left is None else min(time, left - _MARGIN)
    return end if end > timedelta() else None


def _times(given: Mapping[str, Any]) -> tuple[timedelta, timedelta, timedelta]:
    """Return the lifetime, the period and the longest age in *given*; 0 for none."""
    ttl = duration(given.get("ttl", given.get("lease")), "ttl")
    period, longest = duration(given.get("period"), "period"), duration(given.get("explicit_max_ttl"), "ttl")
    if max(ttl, period, longest) > MAX_LIFETIME:
        raise BadRequest(f"ttl must be at most {MAX_LIFETIME.days} days")
    return ttl, period, longest


def _scopes(policies: Any) -> frozenset[Scope]:
    """Return the scopes of *policies*, which are names of roles or scopes; none for none."""
    names: Any = policies.split(",") if isinstance(policies, str) else policies or []
    if not isinstance(names, list):
        raise BadRequest("policies must be a list of texts")
    found: frozenset[Scope] = frozenset()
    for name in names:
        scopes = ROLES.get(str(name)) or scopes_named([str(name)])
        if not scopes:
            raise BadRequest("policies must be names of roles or scopes")
        found |= scopes
    return found


def _new_name(beginning: Any) -> str:
    text = str(beginning)
    name = f"{text[:_MAX_PREFIX_LENGTH]}-{secrets.token_hex(_NAME_SUFFIX_BYTES)}"
    # Before it is truncated: a part of a token is no name, either.
    if has_token(text) or not is_name(name):
        raise BadRequest(
            "display_name must have letters, digits, dots, hyphens and underscores only, and no token"
        )
    return name


def capped(what: str, asked: timedelta, longest: timedelta) -> list[str]:
    """Return the warning that the time *asked* for is more than the *longest*, which is 0 for none."""
    if not timedelta() < longest < asked:
        return []
    times = f'of "{_shown(asked)}" exceeded the effective max_ttl of "{_shown(longest)}"'
    return [f"{what} {times}; {what} value is capped accordingly"]


def _shown(duration: timedelta) -> str:
    """Return *duration* as Vault shows it, such as 1h30m."""
    minutes, seconds = divmod(duration.total_seconds(), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "m"), (seconds, "s"))
    return "".join(f"{number:g}{unit}" for number, unit in parts if number)

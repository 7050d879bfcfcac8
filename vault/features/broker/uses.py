"""Uses: values that a broker gets, to use them for sessions, which never do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any

from vault.common import clock
from vault.common.credentials import without_tokens
from vault.common.errors import LimitReachedError, SecretNotFoundError
from vault.common.outcomes import Status
from vault.core.access.ttl_cache import TTLCache
from vault.core.attempt import Attempt
from vault.core.documents.base import text
from vault.core.documents.guard import storage_errors
from vault.core.documents.stored_secret import UseRules
from vault.core.keys.guard import KeyringGuard
from vault.core.principal import Principal
from vault.core.secrets import reach
from vault.core.secrets.items import Fetch
from vault.core.secrets.requests import Reference
from vault.core.secrets.selection import NO_CONDITION, find_page
from vault.core.secrets.service import SecretService
from vault.features.broker.errors import RuleAmbiguousError, UnusableValueError, UseRefusedError
from vault.features.broker.rules import Credential, Target, UseRule, are_rules, best

#: The longest value that is used: servers take no longer header.
MAX_VALUE_BYTES = 16_384

#: The maximum number of secrets that a session can use, and of those at one host that are told apart.
MAX_USABLE, MAX_AT_HOST = 1_000, 100

#: Seconds for which the rules of a host choose the secret: a margin below the 5 seconds in which a new rule
#: takes effect. The chosen secret's own rules are read for each use.
_CACHE_SECONDS = 3.0
_MAX_CACHED = 256

_RULES = {"name": 1, "use_rules": 1}


@dataclass(frozen=True, slots=True)
class Use:
    """A value that a broker may use for one request."""

    name: str
    version: int
    credential: Credential = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ruled:
    """A secret by its name, with its use rules, as MongoDB has them: they are not proved genuine."""

    name: str
    use_rules: UseRules


class Uses:
    """The uses of secrets.

    All methods take the attempt of a session, and the principal of its broker, of the same namespace. They
    raise the errors of `SecretService`.
    """

    def __init__(self, guard: KeyringGuard, secrets: SecretService) -> None:
        self._guard = guard
        self._secrets = secrets
        self._at_host: TTLCache[Sequence[Ruled]] = TTLCache(seconds=_CACHE_SECONDS, max_size=_MAX_CACHED)

    def use(self, target: Target, name: str | None, *, broker: Principal, attempt: Attempt) -> Use:
        """Return a value for *target*, once the audit entry is durable.

        It is that of the secret with this *name*, or else of the one with the longest path that includes
        *target*.

        Raises:
            UseRefusedError: No use rule of a secret that both principals reach includes *target*.
            RuleAmbiguousError: The rules of several secrets include it equally well.
            UnusableValueError: A header cannot have the value.
        """
        path = without_tokens(target.path)
        attempt.details |= {"host": target.host, "method": target.method, "path": path}
        self._guard.require()
        name = name or self._choose(target, broker, attempt)
        if not broker.reaches(attempt.principal.namespace, name):
            reach.record(broker.namespace, name, attempt)
            attempt.details["reason"] = "outside the broker's paths"
            raise UseRefusedError

        def make(found: Fetch) -> Use:
            attempt.details["version"] = found.fetched_version
            return Use(name, found.fetched_version, _credential(found, target))

        try:
            return self._secrets.read(Fetch(attempt=attempt, reference=Reference(name=name)), make)
        except SecretNotFoundError:
            attempt.details.setdefault("reason", "not found")
            raise UseRefusedError from None

    def usable(self, *, broker: Principal, attempt: Attempt) -> list[tuple[str, UseRule]]:
        """Return the use rules of the secrets that both principals reach, by name, once that is on record.

        Raises:
            LimitReachedError: There are more secrets than a reply can have.
        """
        self._guard.require()
        both = _both(attempt.principal, broker)
        found = _ruled(both, MAX_USABLE) if both else []
        attempt.details["count"] = len(found)
        attempt.finish(Status.SUCCESS)
        return [(one.name, UseRule.of(rule)) for one in found for rule in one.use_rules]

    def _choose(self, target: Target, broker: Principal, attempt: Attempt) -> str:
        """Return the name of the secret whose rules include *target* best."""
        both = _both(attempt.principal, broker)
        found = self._ruled_at(both, target.host) if both else ()
        lengths = {one.name: best(one.use_rules, target)[0] for one in found}
        longest = max(lengths.values(), default=0)
        names = sorted(name for name, length in lengths.items() if length == longest)
        if not longest:
            attempt.details["reason"] = "no rule"
            raise UseRefusedError
        if len(names) > 1:
            attempt.details["reason"] = "ambiguous"
            raise RuleAmbiguousError(f"Several secrets have a rule for this request: {', '.join(names)}.")
        return names[0]

    def _ruled_at(self, both: Principal, host: str) -> Sequence[Ruled]:
        """Return the secrets that *both* reach and whose rules have the *host*."""
        key = "\0".join((both.namespace, host, *both.paths.texts))
        found = self._at_host.get(key)
        if found is None:
            since = monotonic()
            found = _ruled(both, MAX_AT_HOST, {"use_rules.hosts": host})
            if found:
                # Not none: a rule may be set at any moment, and anyone could fill the cache.
                self._at_host.put(key, found, since=since)
        return found


def _credential(found: Fetch, target: Target) -> Credential:
    # Genuine now: the ciphertext is bound to them.
    rules = (found.secret.use_rules if found.secret else None) or ()
    _, rule = best(rules, target)
    if rule is None:
        found.attempt.details["reason"] = "no rule"
        raise UseRefusedError
    if len(found.plaintext) > MAX_VALUE_BYTES:
        raise UnusableValueError(f"The value has over {MAX_VALUE_BYTES} bytes.")
    return rule.credential(found.plaintext)


def _both(session: Principal, broker: Principal) -> Principal | None:
    """Return *session* with the paths that *broker* has, too; None if they have none in common."""
    paths = session.paths.meet(broker.paths)
    return None if paths is None else replace(session, paths=paths)


def _ruled(principal: Principal, limit: int, only: Mapping[str, Any] = NO_CONDITION) -> list[Ruled]:
    """Return the secrets with use rules that *principal* reaches and that meet the condition *only*."""
    with storage_errors("find"):
        page = find_page(
            principal,
            now=clock.now(),
            limit=limit + 1,
            name_prefix="",
            # Both: the index has only secrets with rules.
            only={"use_rules": {"$exists": True}, **only},
            wanted=_RULES,
        )
        found = [Ruled(text(one.get("name")), _rules(one.get("use_rules"))) for one in page]
    if len(found) > limit:
        raise LimitReachedError(f"More than {limit} secrets can be used here. Name one, or narrow the paths.")
    return [one for one in found if one.name]


def _rules(stored: Any) -> UseRules:
    """Return the *stored* rules; none if someone else has stored another form."""
    return stored if are_rules(stored) else ()

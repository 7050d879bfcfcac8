"""A model of principals and secrets: what each has got, by any way that a value leaves the service."""

import json
import random
from base64 import b64encode
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from flask import Flask

from tests.features.exposure.uses import record_use
from tests.support.access import make_token
from tests.support.dialect import DialectClient

#: A principal, the ID of a secret, and a version.
Fact = tuple[str, str, int]
#: A fact, and the host at which a broker used the value.
UseFact = tuple[str, str, int, str]
SERVICES = ("shop_api", "shop_web")
HOSTS = ("api.example.com", "localhost:8443")

#: By default, an address may fail 30 times a minute.
_MAX_FAILURES = 20


@dataclass
class _Secret:
    """A secret of the model; a value that cannot be read is not current."""

    name: str
    secret_id: str
    version: int = 1
    is_deleted: bool = False


@dataclass
class Model:
    """Random operations by *count* principals, and what they should know."""

    app: Flask
    count: int
    secret_count: int
    seed: int
    #: The ways in which each fact became known.
    facts: dict[Fact, list[str]] = field(default_factory=lambda: defaultdict(list))
    #: The number of uses, whose principals learned nothing.
    uses: Counter[UseFact] = field(default_factory=Counter)
    #: The current version of each secret, None if it cannot be read.
    current: dict[str, int | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Create the principals, which have all rights, and one who may do nothing."""
        self._random = random.Random(self.seed)  # noqa: S311 - not for secrets
        self.principals = [f"principal-{number}" for number in range(self.count)]
        self._clients = {name: DialectClient.of(self.app, name, role="admin") for name in self.principals}
        self._powerless = make_token(self.app, "powerless", role="auditor")
        self._secrets: dict[str, _Secret] = {}
        self._failures = 0

    def run(self, steps: int) -> None:
        """Perform *steps* random operations."""
        operations: list[Callable[[str, str], None]] = [
            *(self._fetch, self._fetch_version, self._fetch_batch, self._fetch_prefix, self._deliver),
            *(self._read_kv, self._unwrap, self._rewrap, self._write, self._write_kv, self._patch_kv),
            *(
                self._use,
                self._learn_nothing,
                self._delete,
                self._delete_version,
                self._use_up,
                self._write_first,
            ),
        ]
        for _ in range(steps):
            name = self._name(self._random.randrange(self.secret_count))
            self._perform(self._random.choice(operations), self._random.choice(self.principals), name)

    def expected(self, *, stale: bool = False) -> dict[Fact, tuple[list[str], int, bool]]:
        """Return the ways, the number of entries, and whether the version is current, of all facts."""
        return {
            fact: (sorted(set(how)), len(how), self.current[fact[1]] == fact[2])
            for fact, how in self.facts.items()
            if stale or self.current[fact[1]] == fact[2]
        }

    def expected_uses(self, *, stale: bool = False) -> dict[UseFact, int]:
        """Return the number of uses, and of those that `expected` selects."""
        return {use: count for use, count in self.uses.items() if stale or self.current[use[1]] == use[2]}

    def _name(self, number: int) -> str:
        """Return the name of the secret with this number."""
        return f"app/{number}"

    def _perform(self, operation: Callable[[str, str], None], who: str, name: str) -> None:
        operation(who, name)

    def _knows(self, who: str, secret: _Secret, how: str, version: int | None = None) -> None:
        self.facts[who, secret.secret_id, version or secret.version].append(how)

    def _post(self, who: str, operation: str, **body: Any) -> Any:
        client = self._clients[who]
        headers = {"Authorization": f"Bearer {client.token}"}
        reply = client.client.post(f"/vault/secret/{operation}", json=body, headers=headers)
        assert reply.status_code == 200, (operation, reply.text)
        return reply.json

    def _secret(self, who: str, name: str) -> _Secret:
        """Return the secret with *name*, which *who* creates if it cannot be read."""
        if name not in self._secrets:
            body = {"secret": _value(f'{{"a": "{self._random.random()}"}}'), "name": name}
            secret_id = self._post(who, "create-batch", secrets=[body])["secrets"][0]["secret_id"]
            self._secrets[name] = _Secret(name, secret_id)
            self._knows(who, self._secrets[name], "write")
            self._set_current(self._secrets[name])
        secret = self._secrets[name]
        if secret.is_deleted:
            self._clients[who].ask("POST", f"secret/undelete/{name}", {"versions": [secret.version]})
            secret.is_deleted = False
            self._set_current(secret)
        return secret

    def _set_current(self, secret: _Secret) -> None:
        self.current[secret.secret_id] = None if secret.is_deleted else secret.version

    def _fetch(self, who: str, name: str) -> None:
        secret = self._secret(who, name)
        self._post(who, "fetch", secret_id=secret.secret_id)
        self._knows(who, secret, "fetch")

    def _fetch_version(self, who: str, name: str) -> None:
        secret = self._secret(who, name)
        self._write(who, name)
        self._post(who, "fetch", name=name, version=secret.version - 1)
        self._knows(who, secret, "fetch", secret.version - 1)

    def _fetch_batch(self, who: str, name: str) -> None:
        secret = self._secret(who, name)
        self._post(who, "fetch-batch", secrets=[{"name": name}, {"name": name}, {"name": "none"}])
        self._knows(who, secret, "fetch")
        self._knows(who, secret, "fetch")

    def _fetch_prefix(self, who: str, name: str) -> None:
        self._secret(who, name)
        expected = [one for one in self._secrets.values() if one.name.startswith(name) and not one.is_deleted]
        got = self._post(who, "fetch-batch", name_prefix=name)["secrets"]
        versions = {one["secret_id"]: one["version"] for one in got if "version" in one}
        assert versions.items() >= {(one.secret_id, one.version) for one in expected}
        for secret_id, version in versions.items():
            self.facts[who, secret_id, version].append("fetch")

    def _deliver(self, who: str, name: str) -> None:
        secret = self._secret(who, name)
        delivery = {"service": self._random.choice(SERVICES), "task_id": "task"}
        self._post(who, "fetch", name=name, delivery=delivery)
        self._knows(who, secret, "delivery")

    def _use(self, who: str, name: str) -> None:
        secret, broker = self._secret(who, name), self._random.choice(self.principals)
        host = self._random.choice(HOSTS)
        record_use(who, secret.secret_id, name, version=secret.version, host=host, broker=broker)
        self._knows(broker, secret, "broker")
        self.uses[who, secret.secret_id, secret.version, host] += 1

    def _read_kv(self, who: str, name: str) -> None:
        secret = self._secret(who, name)
        self._clients[who]("GET", f"secret/data/{name}?version={secret.version}")
        self._knows(who, secret, "fetch")

    def _wrap(self, who: str, name: str) -> str:
        reply = self._clients[who]("GET", f"secret/data/{name}", X_Vault_Wrap_TTL="60")
        return str(reply["wrap_info"]["token"])

    def _unwrap(self, who: str, name: str) -> None:
        secret = self._secret(who, name)
        token, other = self._wrap(who, name), self._random.choice([*self.principals, "anonymous"])
        if other == "anonymous":
            self._clients[who].having(token)("POST", "sys/wrapping/unwrap")
        else:
            self._clients[other]("POST", "sys/wrapping/unwrap", {"token": token})
        self._knows(other, secret, "unwrap")
        # A reply that was spent, and one that is never taken. More failures than these are refused.
        if self._failures < _MAX_FAILURES:
            self._failures += 1
            assert self._clients[who].ask("POST", "sys/wrapping/unwrap", {"token": token}).status_code == 400
        self._wrap(who, name)

    def _rewrap(self, who: str, name: str) -> None:
        secret = self._secret(who, name)
        first, between = self._wrap(who, name), self._random.choice(self.principals)
        body = self._clients[between]("POST", "sys/wrapping/unwrap", {"token": first}, X_Vault_Wrap_TTL="50")
        other = self._random.choice(self.principals)
        self._clients[other]("POST", "sys/wrapping/unwrap", {"token": body["wrap_info"]["token"]})
        self._knows(other, secret, "unwrap")

    def _write(self, who: str, name: str) -> None:
        secret = self._secret(who, name)
        value = _value(f'{{"a": "{self._random.random()}"}}')
        secret.version = self._post(who, "update", name=name, secret=value)["version"]
        self._knows(who, secret, "write")
        self._set_current(secret)

    def _write_kv(self, who: str, name: str) -> None:
        secret, data = self._secret(who, name), {"data": {"a": self._random.random()}}
        # The wrapped reply to a write is not its value.
        headers = {"X_Vault_Wrap_TTL": "60"} if self._random.random() < 0.5 else {}
        reply = self._clients[who]("POST", f"secret/data/{name}", data, **headers)
        secret.version += 1
        self._knows(who, secret, "write")
        self._set_current(secret)
        if headers:
            token = reply["wrap_info"]["token"]
            self._clients[self.principals[0]]("POST", "sys/wrapping/unwrap", {"token": token})

    def _patch_kv(self, who: str, name: str) -> None:
        secret, data = self._secret(who, name), {"data": {"b": self._random.random()}}
        media = {"Content_Type": "application/merge-patch+json"}
        self._clients[who]("PATCH", f"secret/data/{name}", json.dumps(data).encode(), **media)
        secret.version += 1
        self._knows(who, secret, "write")
        self._set_current(secret)

    def _learn_nothing(self, who: str, name: str) -> None:
        secret, client = self._secret(who, name), self._clients[who]
        self._post(who, "describe", secret_id=secret.secret_id)
        self._post(who, "list", name_prefix="app/")
        client("GET", f"secret/subkeys/{name}")
        client("GET", f"secret/metadata/{name}")
        wrapped = client("GET", f"secret/subkeys/{name}", X_Vault_Wrap_TTL="60")
        client("POST", "sys/wrapping/unwrap", {"token": wrapped["wrap_info"]["token"]})
        client("POST", "sys/wrapping/unwrap", {"token": client.wrap({"a": 1})})
        assert client.having(self._powerless).ask("GET", f"secret/data/{name}").status_code == 403
        assert client.ask("GET", f"secret/data/{name}?version={secret.version + 7}").status_code == 404

    def _delete(self, who: str, name: str) -> None:
        secret = self._secret(who, name)
        self._post(who, "delete", name=name)
        self.current[secret.secret_id] = None
        del self._secrets[name]

    def _delete_version(self, who: str, name: str) -> None:
        secret = self._secret(who, name)
        self._clients[who].ask("DELETE", f"secret/data/{name}")
        secret.is_deleted = True
        self._set_current(secret)

    def _use_up(self, who: str, _name: str) -> None:
        once = self._post(who, "create", secret=_value("once"), max_reads=1)["secret_id"]
        secret = _Secret("", once, is_deleted=True)
        self._knows(who, secret, "write")
        self._post(who, "fetch", secret_id=once)
        self._knows(who, secret, "fetch")
        self._set_current(secret)

    def _write_first(self, who: str, name: str) -> None:
        """Create a secret without a value, and write its first one."""
        name = f"{name}-{self._random.random()}"
        self._clients[who].ask("POST", f"secret/metadata/{name}", {"max_versions": 5})
        secret_id = self._post(who, "describe", name=name)["secret_id"]
        writer = self._random.choice(self.principals)
        self._clients[writer]("POST", f"secret/data/{name}", {"data": {"a": 1}})
        self._secrets[name] = secret = _Secret(name, secret_id)
        self._knows(writer, secret, "write")
        self._set_current(secret)


def _value(text: str) -> str:
    return b64encode(text.encode()).decode()


def facts(exposures: Iterator[Any]) -> dict[Fact, tuple[list[str], int, bool]]:
    """Return *exposures* in the form of `Model.expected`; none is twice."""
    found: dict[Fact, tuple[list[str], int, bool]] = {}
    for one in exposures:
        fact = one.principal, one.secret_id, one.version
        assert fact not in found
        found[fact] = [*one.how], one.count, one.is_current
    return found


def used(uses: Iterator[Any]) -> dict[UseFact, int]:
    """Return *uses* in the form of `Model.expected_uses`; none is twice."""
    found: dict[UseFact, int] = {}
    for one in uses:
        use = one.principal, one.secret_id, one.version, one.host
        assert use not in found
        found[use] = one.count
    return found

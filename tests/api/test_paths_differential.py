"""Paths, compared: a principal with paths sees what it would see if there were no other secrets."""

import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest
from flask.testing import FlaskClient
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from tests.conftest import running_app, start
from tests.support.databases import new_database
from vault.auth.authenticator import Authenticator
from vault.cli.dev.mongod import Mongod
from vault.core.attempt import Attempt
from vault.core.paths import Paths
from vault.core.principal import Principal, Scope

#: Names with common beginnings, which differ in case, length or a character that regular expressions have.
names = st.lists(st.sampled_from(["a", "ab", "a.b", "A", "é", "_ 日"]), min_size=1, max_size=3).map("/".join)
_numbers = st.none() | st.integers(1, 3)
_values = st.sampled_from(["YQ==", "Yg==", "YWJj", "YWJjYWJjYWJjYWJjYWJjYWJj"])
_labels = st.dictionaries(st.sampled_from(["k", "l"]), st.sampled_from(["1", "2"]), max_size=2)


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[str], list[dict[str, Any]], list[tuple[str, dict[str, Any]]]]:
    """Return paths, secrets, and operations on them and on others."""
    stored = draw(st.lists(names, min_size=2, max_size=9, unique=True))
    prefixes = [f"{name[:end]}/" for name in stored for end in (name.find("/"), name.rfind("/")) if end > 0]
    known = st.sampled_from(stored)
    prefix = st.sampled_from([*prefixes, "a/"])
    some_names = st.none() | known | names
    new_secrets = st.lists(
        st.fixed_dictionaries(
            {"secret": _values, "name": some_names, "labels": _labels, "max_reads": _numbers}
        ),
        min_size=1,
        max_size=4,
    )
    # A secret by its number, or by a name.
    targets = st.integers(0, 9) | some_names.filter(bool)
    beginnings = st.tuples(known, st.integers(1, 8)).map(lambda drawn: drawn[0][: drawn[1]]) | prefix
    calls = {"target": targets, "version": _numbers, "secret": _values, "labels": _labels}
    batches = st.lists(targets, min_size=1, max_size=5).map(lambda some: {"targets": some})
    lists = {
        "name_prefix": st.just("") | beginnings,
        "labels": st.just({}) | st.just({}) | _labels,
        "deleted": st.sampled_from([False, False, True]),
        "limit": st.integers(1, 3),
    }
    operations = st.one_of(
        st.tuples(
            st.sampled_from(["fetch", "describe", "delete", "restore", "purge", "update", "update-metadata"]),
            st.fixed_dictionaries(calls),
        ),
        st.tuples(st.just("create"), new_secrets.map(lambda new: new[0])),
        st.tuples(st.just("create-batch"), new_secrets.map(lambda new: {"secrets": new})),
        st.tuples(st.just("fetch-batch"), batches | beginnings.map(lambda text: {"name_prefix": text})),
        st.tuples(st.just("list"), st.fixed_dictionaries(lists)),
    )
    return (
        draw(st.lists(known | prefix, min_size=1, max_size=5)),
        [{"secret": "YQ==", "name": name, "labels": draw(_labels)} for name in [*stored, None]],
        draw(st.lists(operations, min_size=1, max_size=12)),
    )


#: The fields that each call has in addition to those of its reference.
_FIELDS = {"fetch": ["version"], "purge": ["version"], "update": ["secret"], "update-metadata": ["labels"]}
_MASKED = ("request_id", "created_at", "restorable_until", "last_fetched_at")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Caller:
    """A caller of the application as any principal."""

    def __init__(self, client: FlaskClient) -> None:
        self._client = client
        self.principal = Principal(name="nobody")

    def post(self, principal: Principal, action: str, body: object) -> TestResponse:
        """Return the answer to *action*."""
        self.principal = principal
        return self._client.post(f"/vault/secret/{action}", json=body)


@dataclass
class World:
    """A namespace, as one principal sees it."""

    caller: Caller
    paths: Paths = field(default_factory=Paths)
    #: The IDs of the secrets, by their numbers; of those that are only in the other world, unused ones.
    ids: list[str] = field(default_factory=list)
    #: Numbers by ID.
    numbers: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.namespace = f"n{secrets.token_hex(8)}"
        self.owner = Principal(name="owner", namespace=self.namespace, scopes=frozenset(Scope))
        self.principal = Principal(
            name="reader", namespace=self.namespace, scopes=frozenset(Scope), paths=self.paths
        )

    def know(self, secret_id: str) -> None:
        """Give the next number to a secret."""
        self.numbers[secret_id] = len(self.ids)
        self.ids.append(secret_id)

    def ask(self, action: str, body: Mapping[str, Any]) -> tuple[TestResponse, Any]:
        """Return the answer to *action*, and what of it must be the same in both worlds."""
        reply = self.caller.post(self.principal, action, body)
        headers = {
            name: value
            for name, value in reply.headers
            if name not in ("X-Request-ID", "Date", "Content-Length")
        }
        return reply, (reply.status_code, headers, self._masked(reply.get_json(force=True)))

    def _masked(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {
                name: bool(part) if name in _MASKED else self._masked(part) for name, part in value.items()
            }
        if isinstance(value, list):
            return [self._masked(part) for part in value]
        if isinstance(value, str):
            return _UUID.sub(lambda found: f"#{self.numbers.get(found[0], 'new')}", value)
        return value

    def reference(self, target: int | str) -> dict[str, str]:
        """Return the reference to a secret, by its name or its number."""
        return (
            {"name": target} if isinstance(target, str) else {"secret_id": self.ids[target % len(self.ids)]}
        )


@pytest.fixture(scope="module")
def caller(mongod: Mongod, master_key: str) -> Iterator[Caller]:
    """Return a caller of an application that keeps deleted secrets, and refuses long values."""
    settings = {"MASTER_KEY": master_key, "DELETE_RECOVERY_DAYS": "1", "MAX_SECRET_BYTES": "16"}
    with (
        new_database(mongod) as uri,
        running_app({**settings, "MONGO_URI": uri}) as app,
        pytest.MonkeyPatch.context() as patch,
    ):
        start(app)
        found = Caller(app.test_client())

        def identify(_self: Authenticator, _credential: str | None, *, attempt: Attempt, role: str) -> None:
            assert not role
            attempt.principal = found.principal

        patch.setattr(Authenticator, "identify", identify)
        yield found


def put(worlds: tuple[World, World], limits: Paths, new: dict[str, Any]) -> None:
    """Store a secret in the first world, and in the second one if it is within *limits*."""
    for world, is_there in zip(worlds, (True, limits.include(new["name"])), strict=True):
        reply = world.caller.post(world.owner, "create", new) if is_there else None
        world.know(reply.json["secret_id"] if reply and reply.status_code == 200 else str(uuid4()))


def run(worlds: tuple[World, World], limits: Paths, action: str, given_body: dict[str, Any]) -> None:
    """Perform an operation in both worlds, and compare the answers."""
    if action == "create":
        create(worlds, limits, given_body)
    elif action == "create-batch":
        create_batch(worlds, limits, given_body["secrets"])
    elif action == "list":
        list_pages(worlds, given_body)
    elif "name_prefix" in given_body:
        compare(worlds, action, given_body, given_body)
    elif action == "fetch-batch":
        bodies = [{"secrets": list(map(world.reference, given_body["targets"]))} for world in worlds]
        compare(worlds, action, *bodies)
    else:
        more = {name: given_body[name] for name in _FIELDS.get(action, [])}
        compare(worlds, action, *(world.reference(given_body["target"]) | more for world in worlds))


def compare(worlds: tuple[World, World], action: str, *bodies: Mapping[str, Any]) -> list[TestResponse]:
    """Require the same answers to *bodies* from both worlds, and return them."""
    answers = [world.ask(action, body) for world, body in zip(worlds, bodies, strict=True)]
    assert answers[0][1] == answers[1][1], (action, bodies)
    return [reply for reply, _ in answers]


def create(worlds: tuple[World, World], limits: Paths, new: dict[str, Any]) -> None:
    """Create a secret: outside the paths, the documented difference is 403."""
    if limits.include(new["name"]):
        for world, reply in zip(worlds, compare(worlds, "create", new, new), strict=True):
            if reply.status_code == 200:
                world.know(reply.json["secret_id"])
        return
    reply, _ = worlds[0].ask("create", new)
    assert (reply.status_code, reply.get_json(force=True)["code"]) == (403, "outside_paths")


def create_batch(worlds: tuple[World, World], limits: Paths, new: list[dict[str, Any]]) -> None:
    """Create a batch: those outside the paths fail alone, and the others as without them."""
    within = [one for one in new if limits.include(one["name"])]
    reply, _ = worlds[0].ask("create-batch", {"secrets": new})
    outcomes = list(zip(new, reply.json["secrets"], strict=True))
    outside = [outcome for one, outcome in outcomes if not limits.include(one["name"])]
    assert [outcome["problem"]["code"] for outcome in outside] == ["outside_paths"] * len(outside)
    if not within:
        return
    reply, _ = worlds[1].ask("create-batch", {"secrets": within})
    for one, other in zip(
        [outcome for new_one, outcome in outcomes if limits.include(new_one["name"])],
        reply.json["secrets"],
        strict=True,
    ):
        assert worlds[0]._masked(one) == worlds[1]._masked(other)
        if "secret_id" in one:
            worlds[0].know(one["secret_id"])
            worlds[1].know(other["secret_id"])


def list_pages(worlds: tuple[World, World], query: dict[str, Any]) -> None:
    """Compare all pages of a list, each world with its own cursors."""
    cursors: list[str | None] = [None, None]
    while replies := compare(worlds, "list", *({**query, "cursor": cursor} for cursor in cursors)):
        cursors = [reply.json["cursor"] for reply in replies]
        if None in cursors:
            return
        assert replies[0].json["secrets"], "an empty page with a cursor"


@pytest.mark.promise("names")
@given(case=cases())
@settings(max_examples=settings().max_examples // 3)
def test_paths_show_what_a_namespace_of_only_these_secrets_shows(
    caller: Caller, case: tuple[list[str], list[dict[str, Any]], list[tuple[str, dict[str, Any]]]]
) -> None:
    """Every answer, with its headers, is that of a namespace without the secrets outside the paths.

    The only exception is creating a secret outside them, which is refused.
    """
    paths, stored, operations = case
    limits = Paths.of(paths)
    worlds = World(caller, limits), World(caller)
    for new in stored:
        put(worlds, limits, new)
    for action, body in operations:
        run(worlds, limits, action, body)


def test_the_comparison_notices_a_difference(caller: Caller) -> None:
    """Without the limit in the first world, its secrets outside the paths make a difference."""
    worlds = World(caller), World(caller)
    put(worlds, Paths.of(["a/"]), {"secret": "YQ==", "name": "ab"})
    for action, body in (
        ("list", {"name_prefix": ""}),
        ("fetch", {"target": 0, "version": None}),
        ("describe", {"target": "ab"}),
        ("fetch-batch", {"targets": [0]}),
        ("fetch-batch", {"name_prefix": "a"}),
    ):
        with pytest.raises(AssertionError):
            run(worlds, Paths.of(["a/"]), action, body)

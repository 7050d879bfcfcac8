"""Create, list and revoke tokens: callers cannot grant more than they hold, and every step is recorded."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from flask import Flask
from pymongo.collection import Collection
from pymongo.errors import AutoReconnect

from tests.conftest import running_app
from tests.support.access import make_token, revoke, services
from tests.support.lifecycle import in_future, in_past, unswept
from tests.support.rotation import Stored
from tests.support.trail import block_trail, restore_trail
from vault.common.errors import (
    AmbiguousTokenNameError,
    AuditUnavailableError,
    GrantRefusedError,
    InvalidCredentialError,
    InvalidTokenNameError,
    RevocationRefusedError,
    StorageUnavailableError,
    TokenNameTakenError,
    TokenNotFoundError,
)
from vault.common.outcomes import Status
from vault.core.access.tokens.info import TokenInfo
from vault.core.access.tokens.tokens import Grant
from vault.core.attempt import Action, Attempt
from vault.core.crypto.token import new_token
from vault.core.crypto.token_key import TokenKey
from vault.core.documents import AuditEntry
from vault.core.documents.guard import storage_errors
from vault.core.documents.token import Token
from vault.core.principal import ALL_RIGHTS, OPERATOR, ROLES, SIDES_OF_USE, Principal, Scope

NOON = datetime(2100, 1, 1, 12, tzinfo=UTC)
MAKER = Principal(
    name="maker",
    namespace="team-a",
    scopes=frozenset({Scope.TOKEN_MANAGE, Scope.SECRET_FETCH}),
    networks=(ip_network("10.0.0.0/8"), ip_network("fd00::/8")),
    expires_at=NOON,
)


def attempt(action: Action = Action.TOKEN_CREATE, principal: Principal = MAKER) -> Attempt:
    return Attempt(action=action, principal=principal)


class Unrecorded(Attempt):
    """An attempt without an entry: another commit would wait for the one being written."""

    def finish(self, status: Status) -> None:
        """Do nothing."""


def create(app: Flask, principal: Principal = MAKER, **grant: Any) -> str:
    whole = {"name": "new", "scopes": frozenset({Scope.SECRET_FETCH}), **grant}
    return services(app).tokens.create(Grant(**whole), attempt=attempt(principal=principal)).text


def infos(app: Flask, principal: Principal = OPERATOR) -> list[TokenInfo]:
    return services(app).tokens.list(attempt=attempt(Action.TOKEN_LIST, principal))


def cascade(app: Flask, name: str = "root") -> tuple[str, ...]:
    """Revoke a token and all that it created, as an operator."""
    revocation = attempt(Action.TOKEN_REVOKE, OPERATOR)
    return services(app).tokens.revoke(name, cascade=True, attempt=revocation).revoked


def token_key(app: Flask) -> TokenKey:
    return services(app).tokens._keys.find_or_make()


def entries(stored: Stored) -> list[tuple[str, str, str, Any]]:
    return [
        (entry["action"], entry["status"], entry["principal"], (entry.get("details") or {}).get("token"))
        for entry in stored.audit_logs.find().sort("_id")
    ]


def test_a_creator_can_grant_less(app: Flask) -> None:
    """A token can have a smaller network and a shorter lifetime than its creator, who can have no limit."""
    unbound = Principal(name="unbound", scopes=frozenset(Scope))
    create(app, networks=(ip_network("10.1.0.0/16"),), lifetime=timedelta(hours=1))
    create(app, unbound, networks=(ip_network("192.0.2.0/24"),), lifetime=timedelta(days=9_000))
    create(app, unbound, name="second")
    found = {(token.namespace, token.name): token for token in infos(app)}
    less = found["team-a", "new"]
    assert less.networks == ("10.1.0.0/16",)
    assert less.expires_at is not None
    assert less.expires_at < NOON
    assert found["default", "new"].expires_at
    assert found["default", "second"].expires_at is None


def test_omitted_options_are_the_creator_s(app: Flask) -> None:
    """A token with only a name and scopes has its creator's namespace, networks and expiry."""
    create(app)
    [token] = infos(app)
    assert (token.namespace, token.created_by, token.state) == ("team-a", "maker", "active")
    assert (token.scopes, token.networks) == (("secret:fetch",), ("10.0.0.0/8", "fd00::/8"))
    assert token.expires_at == NOON


@pytest.mark.promise("credentials")
def test_callers_cannot_grant_more_than_they_hold(app: Flask, stored: Stored) -> None:
    """A scope, namespace, network or lifetime that the creator lacks is refused by name."""
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"scopes": frozenset({Scope.AUDIT_READ})}, "scopes"),
        ({"scopes": ALL_RIGHTS}, "scopes"),
        ({"scopes": frozenset({Scope.SECRET_USE})}, "scopes"),
        ({"namespace": "team-b"}, "another namespace"),
        ({"networks": (ip_network("0.0.0.0/0"),)}, "networks"),
        ({"networks": (ip_network("10.1.0.0/16"), ip_network("192.0.2.1"))}, "networks"),
        ({"networks": (ip_network("fc00::/7"),)}, "networks"),
        ({"lifetime": timedelta(days=100 * 366)}, "time"),
    )
    for grant, excess in cases:
        with pytest.raises(GrantRefusedError, match=f": {excess}"):
            create(app, **grant)
    assert stored.tokens.count_documents({}) == 0


def test_nobody_makes_a_token_of_both_sides_of_a_use(app: Flask) -> None:
    """It would obtain values by its own word: not even an operator makes one."""
    with pytest.raises(GrantRefusedError):
        make_token(app, "both", scopes=tuple(SIDES_OF_USE))
    assert make_token(app, "one", scopes=(Scope.SECRET_USE,))


def test_roles_are_lists_of_scopes() -> None:
    """Each role has its documented scopes, and `admin` all but those of the two sides of a use."""
    assert {role: {scope.value for scope in scopes} for role, scopes in ROLES.items()} == {
        "reader": {"secret:fetch", "secret:describe", "secret:list"},
        "writer": {
            *("secret:fetch", "secret:describe", "secret:list"),
            *("secret:create", "secret:update", "secret:delete"),
        },
        "driver": {"secret:fetch", "secret:deliver"},
        "auditor": {"audit:read"},
        "admin": {scope.value for scope in Scope} - {"secret:use", "secret:broker"},
    }


def test_reserved_names_are_refused(app: Flask) -> None:
    """No token can have the name of anonymous callers, operators or the service in the trail."""
    for name in ("anonymous", "operator", "service"):
        with pytest.raises(InvalidTokenNameError, match="reserved"):
            create(app, name=name)


def as_before(app: Flask, stored: Stored, name: str, namespace: str, **grant: Any) -> str:
    """Store a token as an earlier version does: by its plain name, in every namespace."""
    text = make_token(app, name, namespace=namespace, **(grant or {"role": "reader"}))
    stored_name = f"{namespace}/{name}" if namespace != "default" else name
    token = Token.objects(name=stored_name).first()
    token.name = name
    key = token_key(app)
    token.close(key)
    stored.tokens.update_one({"_id": token.id}, {"$set": {"name": name, "seal": token.seal}})
    return text


@pytest.mark.promise("names")
@pytest.mark.parametrize("is_earlier", [False, True], ids=["now", "earlier version"])
def test_a_name_is_free_in_every_other_namespace(app: Flask, stored: Stored, is_earlier: bool) -> None:
    """Names are unique within a namespace, also of revoked tokens, and of those that were reserved globally.

    The audit trail distinguishes tokens with equal names.
    """
    if is_earlier:
        as_before(app, stored, "ci", "team-a")
    names = {}
    for namespace in ("default", "team-b") if is_earlier else (None, "team-a", "team-b"):
        text = make_token(app, "ci", role="reader", namespace=namespace)
        named = attempt(Action.FETCH)
        services(app).authenticator.identify(text, attempt=named)
        names[named.principal.namespace] = named.principal.name
    first = "default/ci" if is_earlier else "ci"
    expected = {"default": first, "team-a": "team-a/ci", "team-b": "team-b/ci"}
    assert names == {space: name for space, name in expected.items() if not is_earlier or space != "team-a"}
    for _ in range(2):
        with pytest.raises(TokenNameTakenError, match="already used"):
            make_token(app, "ci", role="reader", namespace="team-b")
        revocation = attempt(Action.TOKEN_REVOKE, OPERATOR)
        services(app).tokens.revoke("ci", namespace="team-b", attempt=revocation)
    assert [(token.name, token.namespace) for token in infos(app)] == [("ci", space) for space in expected]


def test_tokens_of_an_earlier_version_keep_their_names(app: Flask, stored: Stored) -> None:
    """A token of an earlier version is valid, listed, revocable and unique by its plain name."""
    text = as_before(app, stored, "ci", "team-a")
    named = attempt(Action.FETCH)
    services(app).authenticator.identify(text, attempt=named)
    assert (named.principal.name, named.principal.namespace) == ("ci", "team-a")
    assert [(token.name, token.state) for token in infos(app, MAKER)] == [("ci", "active")]
    with pytest.raises(TokenNameTakenError, match="already used"):
        create(app, name="ci")
    unbound = Principal(name="admin", namespace="team-a", scopes=frozenset(Scope))
    assert services(app).tokens.revoke("ci", attempt=attempt(Action.TOKEN_REVOKE, unbound)).revoked == ("ci",)


def test_an_older_replica_starts_despite_equal_names(app: Flask, stored: Stored) -> None:
    """The unique index that an older replica creates at its start accepts equal names."""
    for namespace in ("default", "team-a"):
        make_token(app, "ci", role="reader", namespace=namespace)
    stored.tokens.drop_index("name_1")
    assert stored.tokens.create_index("name", unique=True) == "name_1"
    key = token_key(app)
    assert [token.is_genuine(key) for token in Token.objects] == [True, True]


def test_an_ambiguous_name_needs_a_namespace(app: Flask) -> None:
    """A name in several namespaces needs a namespace, except in its form of the audit trail."""
    for namespace in ("default", "team-a", "team-b"):
        make_token(app, "ci", role="reader", namespace=namespace)
    tokens = services(app).tokens

    def revoke_ci(name: str = "ci", **options: Any) -> tuple[str, ...]:
        return tokens.revoke(name, attempt=attempt(Action.TOKEN_REVOKE, OPERATOR), **options).revoked

    with pytest.raises(AmbiguousTokenNameError):
        revoke_ci()
    assert revoke_ci(namespace="team-b") == ("ci",)
    assert revoke_ci("team-a/ci") == ("ci",)
    states = {token.namespace: token.state for token in infos(app)}
    assert states == {"default": "active", "team-a": "revoked", "team-b": "revoked"}
    for options in ({"namespace": "team-c"}, {"name": "c"}, {"name": ".*"}):
        with pytest.raises(TokenNotFoundError):
            revoke_ci(**options)


WHOLE = Principal(name="boss", namespace="team-a", scopes=frozenset(Scope))


@pytest.mark.promise("credentials")
def test_a_token_with_more_rights_is_not_revoked(app: Flask, stored: Stored) -> None:
    """A token with a scope or network the principal lacks is unchanged, and the refusal says why."""
    fetch: dict[str, Any] = {"scopes": ("secret:fetch",)}
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"role": "admin"}, "scopes, networks"),
        ({"scopes": ("audit:read",), "networks": ("10.0.0.1",)}, "scopes"),
        (fetch, "networks"),
        (fetch | {"networks": ("10.0.0.0/7",)}, "networks"),
        (fetch | {"networks": ("10.0.0.0/9", "192.0.2.1")}, "networks"),
    )
    for number, (grant, excess) in enumerate(cases):
        make_token(app, f"t{number}", namespace="team-a", **grant)
        before = list(stored.tokens.find())
        with pytest.raises(RevocationRefusedError, match=f"more than yours: {excess}\\."):
            services(app).tokens.revoke(f"t{number}", attempt=attempt(Action.TOKEN_REVOKE))
        assert list(stored.tokens.find()) == before


def test_a_principal_revokes_the_tokens_that_it_covers(app: Flask, stored: Stored) -> None:
    """A principal can revoke itself, tokens it covers, altered ones, and ones with unknown scopes."""
    make_token(
        app, "small", namespace="team-a", scopes=("secret:fetch",), networks=("10.1.0.0/16", "fd00::1")
    )
    make_token(app, "altered", namespace="team-a", role="admin")
    stored.tokens.update_one({"name": "team-a/altered"}, {"$set": {"created_by": "another"}})
    for name in ("small", "altered"):
        services(app).tokens.revoke(name, attempt=attempt(Action.TOKEN_REVOKE))
    make_token(app, "boss", namespace="team-a", role="admin")
    newer = Token.objects(name="team-a/boss").first()
    newer.scopes = [*newer.scopes, "secret:teleport"]
    key = token_key(app)
    newer.close(key)
    stored.tokens.update_one({"_id": newer.id}, {"$set": {"scopes": newer.scopes, "seal": newer.seal}})
    services(app).tokens.revoke("boss", attempt=attempt(Action.TOKEN_REVOKE, WHOLE))
    assert {token.name: token.state for token in infos(app)} == {
        "small": "revoked",
        "altered": "altered",
        "boss": "revoked",
    }
    assert stored.tokens.count_documents({"revoked_at": None}) == 0


def test_a_token_can_always_revoke_itself(app: Flask) -> None:
    """A token can revoke itself, whatever its networks."""
    text = make_token(
        app, "me", namespace="team-a", scopes=("token:manage",), networks=("10.0.0.0/8", "192.0.2.0/24")
    )
    mine = Attempt(action=Action.TOKEN_REVOKE, ip="10.0.0.1")
    services(app).authenticator.identify(text, attempt=mine)
    assert services(app).tokens.revoke("me", attempt=mine).revoked == ("me",)
    assert [token.state for token in infos(app)] == ["revoked"]


def family(app: Flask) -> None:
    """Create a token that created two, one of which created another; and an unrelated one."""

    def made(maker: str, name: str) -> None:
        principal = Principal(name=f"team-a/{maker}", namespace="team-a", scopes=frozenset(Scope))
        create(app, principal, name=name)

    make_token(app, "root", namespace="team-a", role="admin")
    made("root", "a")
    made("root", "b")
    made("a", "a-a")
    make_token(app, "other", namespace="team-a", role="reader")
    # A creator of the same name in another namespace, and one with a similar name.
    create(app, Principal(name="root", scopes=frozenset(Scope)), name="namesake")


def states(app: Flask) -> dict[str, str]:
    return {token.name: token.state for token in infos(app)}


@pytest.mark.promise("credentials")
def test_a_cascade_revokes_all_descendants(app: Flask, stored: Stored) -> None:
    """A cascade revokes children and grandchildren, each after its own entry; other tokens stay."""
    family(app)
    stored.audit_logs.delete_many({})
    ended = cascade(app)
    assert ended == ("root", "a", "b", "a-a")
    assert states(app) == dict.fromkeys(("root", "a", "b", "a-a"), "revoked") | dict.fromkeys(
        ("other", "namesake"), "active"
    )
    revocations = stored.audit_logs.find({"action": "token_revoke"}).sort("_id")
    assert [entry["details"] for entry in revocations] == [
        {"token": "root", "namespace": "team-a", "cascade": True},
        {"token": "a", "namespace": "team-a", "created_by": "team-a/root"},
        {"token": "b", "namespace": "team-a", "created_by": "team-a/root"},
        {"token": "a-a", "namespace": "team-a", "created_by": "team-a/a"},
    ]


def test_a_cascade_continues_below_revoked_tokens(app: Flask) -> None:
    """Repeating an interrupted cascade ends the remaining tokens, below revoked ones too."""
    family(app)
    for name in ("root", "a"):
        revoke(app, name)
    again = [cascade(app) for _ in range(2)]
    assert again == [("b", "a-a"), ()]


@pytest.mark.promise("credentials")
def test_a_cascade_stops_when_the_trail_fails(
    app: Flask, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its entry, no token is revoked; it stays active and can be revoked later."""
    family(app)
    finish = Attempt.finish

    def failing(which: Attempt, status: Status) -> None:
        if which.details.get("token") == "b":
            block_trail(stored)
        finish(which, status)

    with monkeypatch.context() as broken:
        broken.setattr(Attempt, "finish", failing)
        with pytest.raises(AuditUnavailableError):
            cascade(app)
    restore_trail(stored)
    assert [name for name, state in states(app).items() if state == "revoked"] == ["a", "root"]
    cascade(app)
    assert [name for name, state in states(app).items() if state == "active"] == ["namesake", "other"]


def test_a_cycle_of_creators_does_not_hang(app: Flask, stored: Stored) -> None:
    """Two tokens that name each other as creator do not make a cascade endless."""
    key = token_key(app)
    for name, maker in (("a", "b"), ("b", "a")):
        make_token(app, name, role="reader")
        token = Token.objects(name=name).first()
        token.created_by = maker
        token.close(key)
        stored.tokens.update_one({"_id": token.id}, {"$set": {"created_by": maker, "seal": token.seal}})
    assert cascade(app, "a") == ("a", "b")


def test_a_forged_creator_revokes_nothing(app: Flask, stored: Stored) -> None:
    """A token whose creator was changed in the database is altered, and not part of a cascade."""
    family(app)
    stored.tokens.update_one({"name": "team-a/other"}, {"$set": {"created_by": "team-a/root"}})
    ended = cascade(app)
    assert "other" not in ended
    assert stored.tokens.count_documents({"name": "team-a/other", "revoked_at": None}) == 1


@pytest.mark.promise("credentials")
def test_a_revoked_creator_creates_nothing_more(app: Flask, stored: Stored) -> None:
    """A creator that was revoked after its look-up is refused and leaves no token."""
    make_token(app, "root", namespace="team-a", role="admin")
    revoke(app, "root")
    maker = Principal(name="team-a/root", namespace="team-a", scopes=frozenset(Scope))
    with pytest.raises(InvalidCredentialError):
        create(app, maker)
    assert [document["name"] for document in stored.tokens.find()] == ["team-a/root"]


@pytest.mark.promise("credentials")
def test_a_cascade_includes_a_token_being_created(
    app: Flask, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token whose creator is revoked while its entry is written is not issued."""
    make_token(app, "root", namespace="team-a", role="admin")
    maker = Principal(name="team-a/root", namespace="team-a", scopes=frozenset(Scope))
    activate = Token.activate

    def late(token: Token) -> bool:
        cascade(app)
        return activate(token)

    monkeypatch.setattr(Token, "activate", late)
    with pytest.raises(StorageUnavailableError):
        create(app, maker)
    assert [document["name"] for document in stored.tokens.find()] == ["team-a/root"]


@pytest.mark.promise("credentials")
def test_the_longest_lifetime_is_a_setting(environment: dict[str, str]) -> None:
    """With `TOKEN_MAX_DAYS`, a token gets the longest lifetime by default, and a longer one is refused."""
    with running_app({**environment, "TOKEN_MAX_DAYS": "30"}) as app:
        with pytest.raises(GrantRefusedError, match="A token can last at most 30 days"):
            make_token(app, "long", role="reader", seconds=30 * 86_400 + 1)
        make_token(app, "default", role="reader")
        make_token(app, "longest", role="reader", seconds=30 * 86_400)
        make_token(app, "short", role="reader", seconds=60)
        soon = datetime.now(UTC) + timedelta(hours=1)
        create(app, Principal(name="short-lived", scopes=frozenset(Scope), expires_at=soon), name="child")
        lasts = {
            token.name: token.expires_at - token.created_at
            for token in infos(app)
            if token.expires_at and token.created_at
        }
    month, minute = timedelta(days=30), timedelta(minutes=1)
    assert (lasts["default"], lasts["longest"], lasts["short"]) == (month, month, minute)
    assert lasts["child"] <= timedelta(hours=1)


def test_an_existing_token_keeps_its_lifetime(environment: dict[str, str], app: Flask) -> None:
    """A token without an expiry stays valid after the longest lifetime is set."""
    text = make_token(app, "old", role="reader")
    with running_app({**environment, "TOKEN_MAX_DAYS": "1"}) as limited:
        services(limited).authenticator.identify(text, attempt=attempt(Action.FETCH))
        assert [(token.state, token.expires_at) for token in infos(limited)] == [("active", None)]


def test_without_the_token_key_no_token_is_valid(
    environment: dict[str, str], app: Flask, stored: Stored
) -> None:
    """Tokens whose key is missing are listed as altered, and cannot be revoked."""
    create(app)
    stored.token_keys.delete_many({})
    with running_app(environment) as fresh:
        assert [token.state for token in infos(fresh)] == ["altered"]
        with pytest.raises(TokenNotFoundError):
            revoke(fresh, "new")


def test_every_step_is_recorded(app: Flask, stored: Stored) -> None:
    """Creating, listing and revoking each leave an entry with the token's name and grants."""
    create(app)
    infos(app)
    revoke(app, "new")
    assert entries(stored) == [
        ("token_create", "success", "maker", "new"),
        ("token_list", "success", "operator", None),
        ("token_revoke", "success", "operator", "new"),
    ]
    entry = stored.audit_logs.find_one(sort=[("_id", 1)])
    assert entry is not None
    assert entry["details"] == {
        "token": "new",
        "namespace": "team-a",
        "scopes": ["secret:fetch"],
        "networks": ["10.0.0.0/8", "fd00::/8"],
        "paths": [],
        "expires_at": NOON.isoformat(),
    }


def test_nothing_happens_without_its_entry(app: Flask, stored: Stored) -> None:
    """While the trail cannot be written, no token is issued, listed or revoked, and no name is taken."""
    create(app)
    block_trail(stored)
    for call in (lambda: create(app, name="other"), lambda: infos(app), lambda: revoke(app, "new")):
        with pytest.raises(AuditUnavailableError):
            call()
    assert stored.tokens.count_documents({}) == 1
    restore_trail(stored)
    create(app, name="other")
    assert states(app) == {"new": "active", "other": "active"}


def while_recording(monkeypatch: pytest.MonkeyPatch, look: Callable[[], None]) -> None:
    """Call *look* once the next token is stored, just before its entry is."""
    store = AuditEntry.store

    def looking(*entries: Any) -> None:
        monkeypatch.setattr(AuditEntry, "store", store)
        look()
        store(*entries)

    monkeypatch.setattr(AuditEntry, "store", looking)


@pytest.mark.promise(3)
def test_a_pending_token_can_be_neither_seen_used_nor_revoked(
    app: Flask, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until its entry is durable, a token is not listed, not valid and not revocable."""
    make_token(app, "first")
    texts, seen = [], []
    monkeypatch.setattr(
        "vault.core.access.tokens.tokens.new_token", lambda: texts.append(new_token()) or texts[-1]
    )

    def look() -> None:
        seen.append([document["name"] for document in stored.tokens.find()])
        seen.append([token.name for token in Token.objects(pending=None)])
        for call in (
            lambda: services(app).authenticator.identify(texts[-1], attempt=attempt()),
            lambda: services(app).tokens.revoke("new", attempt=Unrecorded(action=Action.TOKEN_REVOKE)),
        ):
            with pytest.raises((InvalidCredentialError, TokenNotFoundError)) as refused:
                call()
            seen.append(getattr(refused.value, "reason", "not found"))

    while_recording(monkeypatch, look)
    assert create(app) == texts[-1]
    assert seen == [["first", "team-a/new"], ["first"], "unknown", "not found"]
    named = Attempt(action=Action.FETCH, ip="10.0.0.1")
    # Results from that time are not cached.
    services(app).authenticator.identify(texts[-1], attempt=named)
    assert named.principal.name == "team-a/new"


@pytest.mark.promise(3)
def test_an_older_replica_refuses_a_pending_token(
    app: Flask, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica that does not know pending tokens treats one as altered, because it has no seal."""
    make_token(app, "first")
    key = token_key(app)
    genuine: list[bool] = []

    def look() -> None:
        genuine.extend(token.is_genuine(key) for token in Token.objects.order_by("name"))

    while_recording(monkeypatch, look)
    create(app)
    assert genuine == [True, False]
    assert all(token.is_genuine(key) for token in Token.objects)
    assert [set(document) & {"pending", "purge_at"} for document in stored.tokens.find()] == [set(), set()]


def test_a_token_stored_before_an_upgrade_stays_valid(app: Flask, stored: Stored) -> None:
    """A token in the form of earlier releases, without pending ones, is listed unchanged."""
    create(app)
    [document] = stored.tokens.find()
    assert set(document) == {
        *("_id", "name", "namespace", "scopes", "networks", "created_at", "created_by", "expires_at", "seal")
    }


def pending(app: Flask, stored: Stored, purge_at: datetime) -> None:
    """Leave the token `new` as a process does that was killed before the token's entry was durable."""
    create(app)
    stored.tokens.update_one({}, {"$set": {"pending": True, "purge_at": purge_at, "seal": ""}})


def test_the_name_of_an_expired_pending_token_is_free(app: Flask, stored: Stored) -> None:
    """A token pending beyond its time limit is replaced by the next of its name, swept or not."""
    with unswept(stored):
        pending(app, stored, in_past(seconds=1))
        create(app)
    [document] = stored.tokens.find()
    assert "pending" not in document
    assert [token.state for token in infos(app)] == ["active"]


def test_the_name_of_a_token_swept_at_this_moment_is_free(
    app: Flask, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the sweep removes a leftover just before the create does, its name is free."""
    pending(app, stored, in_future(seconds=60))
    delete = Collection.delete_one

    def overtaken(collection: Any, query: Any) -> Any:
        stored.tokens.delete_many({})
        return delete(collection, query)

    monkeypatch.setattr(Collection, "delete_one", overtaken)
    create(app)
    assert [token.state for token in infos(app)] == ["active"]


def test_a_name_reserved_by_another_request_is_taken(
    app: Flask, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While another process may still finish, its pending token stays, and its name is refused."""
    monkeypatch.setattr("vault.common.retries._TIMEOUT_SECONDS", 0.1)
    pending(app, stored, in_future(seconds=60))
    before = list(stored.tokens.find())
    with pytest.raises(TokenNameTakenError, match="Another request"):
        create(app)
    assert list(stored.tokens.find()) == before


def test_mongodb_removes_expired_pending_tokens(app: Flask, stored: Stored) -> None:
    """MongoDB removes a leftover token within 2 minutes of its clock, and never an active one."""
    with unswept(stored):
        pending(app, stored, in_future(seconds=60))
        make_token(app, "active")
        indexes = stored.tokens.index_information().values()
        [index] = [index for index in indexes if "expireAfterSeconds" in index]
        assert (index["key"], index["expireAfterSeconds"]) == ([("purge_at", 1)], 0)
        assert [document["name"] for document in stored.tokens.find({"purge_at": None})] == ["active"]


def test_a_token_pending_too_long_is_not_issued(
    app: Flask, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token that MongoDB removed while its entry was written is refused, not reported as created."""
    make_token(app, "first")
    while_recording(monkeypatch, lambda: stored.tokens.delete_one({"name": "team-a/new"}))
    with pytest.raises(StorageUnavailableError):
        create(app)
    assert [token.name for token in infos(app)] == ["first"]


def test_an_undelivered_token_does_not_keep_its_name(
    app: Flask, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If MongoDB's reply to the activation is lost, the token is removed and its name is free."""
    activate = Token.activate

    def unheard(token: Token) -> bool:
        activate(token)
        with storage_errors():
            raise AutoReconnect
        raise AssertionError

    with monkeypatch.context() as broken:
        broken.setattr(Token, "activate", unheard)
        with pytest.raises(StorageUnavailableError):
            create(app)
    assert stored.tokens.count_documents({}) == 0
    create(app)

"""The status of an installation finds what an operator has to look at, each by itself."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pymongo.errors import OperationFailure

from tests.common.test_certificates import in_days, pem
from tests.conftest import running_app
from tests.support.access import services
from tests.support.installation import Installation
from tests.support.rotation import Stored, age_claims, connected, fill, new_key, text
from tests.support.trail import block_trail, restore_trail
from vault.common.certificates import Certificates
from vault.common.config.settings import Settings
from vault.common.outcomes import Status
from vault.core.attempt import Action, Attempt
from vault.core.crypto import Keyring
from vault.core.documents import registry
from vault.core.documents.database import Privileges
from vault.core.documents.primary import Primary
from vault.core.documents.registry import begin_restore
from vault.core.principal import OPERATOR
from vault.core.status import Line, State, gravest
from vault.core.trail.writer import AuditTrail

KEY, OTHER = new_key(), new_key()
LOOK, DOWN = State.LOOK, State.DOWN
Fault = Callable[[Installation], None]


@pytest.fixture
def installation(mongo_uri: str, stored: Stored, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """Return an installation in which all is well; one member of MongoDB stands for three."""
    monkeypatch.setattr("vault.core.documents.primary.MIN_MEMBERS", 1)
    environment = {"MONGO_URI": mongo_uri, "MASTER_KEY": text(KEY), "AUTH_ENABLED": "true"}
    made = Installation(environment, stored, KEY)
    made.build()
    return made


def change(**settings: str) -> Fault:
    """Return the fault of these settings."""
    return lambda installation: installation.changes.update(settings)


def claims(**fields: object) -> Fault:
    """Return the fault of these fields of the document of the claims."""
    return lambda one: one.stored["keys"].update_one({"_id": "claims"}, {"$set": fields}) and None


def end_workers(installation: Installation) -> None:
    age_claims(installation.stored)


def only_a_command(installation: Installation) -> None:
    age_claims(installation.stored, 60_000)
    with connected(installation.uri):
        installation.claim(KEY, serves=False)


def programs(**fields: str) -> Fault:
    """Return the fault of these fields of what the worker runs."""
    changed = {f"program.{name}": value for name, value in fields.items()}
    return lambda one: one.stored["keys"].update_many({"program": {"$exists": 1}}, {"$set": changed}) and None


def earlier_version(installation: Installation) -> None:
    with connected(installation.uri):
        installation.claim(KEY)
    installation.stored["keys"].update_one({"program": {"$exists": 1}}, {"$unset": {"program": 1}})


def a_half(failing: str, version: str = "") -> Fault:
    """Return the fault of a second worker."""

    def fault(installation: Installation) -> None:
        with connected(installation.uri):
            installation.claim(KEY)
        keys = installation.stored["keys"]
        changed = {"program.failing": failing} | ({"program.version": version} if version else {})
        keys.update_one({"program": {"$exists": 1}}, {"$set": changed})

    return fault


def stored_under_another(installation: Installation) -> None:
    fill(installation.stored, OTHER, 1)


def not_rewrapped(installation: Installation) -> None:
    fill(installation.stored, OTHER, 1)
    installation.changes["MASTER_KEY_FALLBACKS"] = text(OTHER)


def swapping(installation: Installation) -> None:
    age_claims(installation.stored, 60_000)
    with connected(installation.uri):
        installation.claim(KEY, OTHER)
        installation.claim(OTHER, KEY)
    installation.changes["MASTER_KEY_FALLBACKS"] = text(OTHER)
    fill(installation.stored, OTHER, 1)


def unfinished_restore(installation: Installation) -> None:
    age_claims(installation.stored)
    with connected(installation.uri):
        assert begin_restore("a backup", audit_enabled=True, auth_enabled=True)


def audit_off(installation: Installation) -> None:
    claims(**{"trail.enabled": False})(installation)
    installation.changes["AUDIT_ENABLED"] = "false"


def expiring_entries(installation: Installation) -> None:
    installation.stored.audit_logs.create_index("previous_ts", expireAfterSeconds=60)


def drop_index(name: str) -> Fault:
    """Return the fault of the trail without this index."""
    return lambda one: one.stored.audit_logs.drop_index(name) and None


def tampering(installation: Installation) -> None:
    with connected(installation.uri):
        trail = AuditTrail(Keyring(KEY))
        trail.connect()
        Attempt(action=Action.AUDIT_TAMPERING, principal=OPERATOR).finish(Status.SUCCESS)
        trail.disconnect()


def blocked_trail(installation: Installation) -> None:
    block_trail(installation.stored)


FAULTS: list[tuple[str, Fault, dict[str, State], str]] = [
    ("no replica runs", end_workers, {"replicas": DOWN}, "no replica runs"),
    ("a command is no replica", only_a_command, {"replicas": DOWN}, "no replica runs"),
    ("an upgrade half done", a_half("", "0.9"), {"replicas": LOOK}, "several versions"),
    ("a replica of 1.1", earlier_version, {"replicas": LOOK}, "1.1 or earlier (1 worker)"),
    (
        "a sink that one replica cannot write",
        a_half("audit"),
        {"replicas": LOOK},
        "1 worker not ready: audit",
    ),
    ("a sink that no replica can write", programs(failing="audit"), {"replicas": DOWN}, "not ready: audit"),
    (
        "a wrong master key",
        change(MASTER_KEY=text(OTHER)),
        {"keys": DOWN},
        f"the master key here has the ID {OTHER.id}",
    ),
    (
        "a primary key that the workers lack",
        change(MASTER_KEY=text(OTHER), MASTER_KEY_FALLBACKS=text(KEY)),
        {"keys": DOWN},
        f"running workers lack the primary master key here, {OTHER.id}; give it to them as a fallback",
    ),
    ("a missing master key", stored_under_another, {"keys": DOWN}, OTHER.id),
    ("a rewrap that is due", not_rewrapped, {"keys": LOOK}, "keys rewrap"),
    ("a key to drop", change(MASTER_KEY_FALLBACKS=text(OTHER)), {"keys": LOOK}, "needs 1 fallback key"),
    ("workers with two primary keys", swapping, {"keys": LOOK}, "another primary key"),
    ("a weak key", change(MASTER_KEY_FALLBACKS="0123456789abcdef" * 2), {"keys": LOOK}, "rotate it"),
    ("an unknown signer", claims(**{"trail.signer": "f" * 16}), {"keys": DOWN}, "signs the audit trail"),
    ("an unfinished restore", unfinished_restore, {"restore": DOWN, "replicas": DOWN}, "is incomplete"),
    (
        "a lost AUTH_ENABLED",
        change(AUTH_ENABLED="false"),
        {"auth": DOWN, "settings": LOOK},
        "AUTH_ENABLED=true",
    ),
    ("a lost AUDIT_ENABLED", change(AUDIT_ENABLED="false"), {"audit": DOWN}, "AUDIT_ENABLED is off"),
    ("no trail", audit_off, {"trail": LOOK}, "requests leave no entries"),
    ("a validator", blocked_trail, {"trail": LOOK}, "validator"),
    ("an index that removes entries", expiring_entries, {"trail": LOOK}, "MongoDB removes entries"),
    ("a trail without its unique index", drop_index("stream_1_seq_1"), {"trail": LOOK}, "unique index"),
    ("a trail without retention", drop_index("retention"), {"trail": LOOK}, "not AUDIT_TTL_DAYS"),
    ("another retention", change(AUDIT_TTL_DAYS="9000"), {"trail": LOOK}, "not AUDIT_TTL_DAYS"),
    ("tampering", tampering, {"trail": LOOK}, "a verification found tampering"),
    ("a page of any origin", change(CORS_ORIGINS="*"), {"settings": LOOK}, "CORS_ORIGINS is *"),
    ("a misspelt setting", change(CORS_ORIGIN="https://a.example"), {"settings": LOOK}, "did you mean"),
]


@pytest.mark.parametrize(
    ("fault", "expected", "words"), [one[1:] for one in FAULTS], ids=[one[0] for one in FAULTS]
)
def test_each_fault_is_found(
    installation: Installation, fault: Fault, expected: dict[str, State], words: str
) -> None:
    """A fault changes the lines that are about it, and no other; the first of them says what it is."""
    fault(installation)
    found = installation.flaws()
    assert {subject: line.state for subject, line in found.items()} == expected
    assert words in found[next(iter(expected))].text


def test_all_is_well(installation: Installation) -> None:
    """Without a fault, each line is well, and says how it is."""
    lines = installation.lines()
    assert gravest(lines.values()) is State.WELL
    first = ["replicas", "mongodb", "clock", "keys", "auth", "trail", "certificates"]
    assert list(lines)[: len(first)] == first
    assert "verified by a report 20" in lines["trail"].text
    assert all(line.text for line in lines.values())


def test_several_faults_are_found_at_once(installation: Installation) -> None:
    """Readiness names one failing check; the status names all of them."""
    unfinished_restore(installation)
    installation.changes |= {"MASTER_KEY": text(OTHER), "AUTH_ENABLED": "false", "AUDIT_ENABLED": "false"}
    fill(installation.stored, KEY, 1)
    found = installation.flaws()
    assert {subject for subject, line in found.items() if line.state is DOWN} == {
        *("replicas", "restore", "keys", "auth", "audit")
    }
    assert gravest(found.values()) is DOWN


@pytest.mark.parametrize(("seconds", "state"), [(20, LOOK), (-400, DOWN)])
def test_a_difference_of_the_clocks_is_found(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, seconds: float, state: State
) -> None:
    """From 10 seconds on, someone should look; from 5 minutes on, this machine's replica does not serve."""
    monkeypatch.setattr(Primary, "clock_offset", seconds)
    assert {subject: line.state for subject, line in installation.flaws().items()} == {"clock": state}


@pytest.mark.parametrize("starts", [True, False])
def test_a_worker_that_starts_or_ends_meanwhile_is_of_no_earlier_version(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, starts: bool
) -> None:
    """The status reads workers and their versions one after the other; what changes in between is no flaw."""
    running_programs = registry.running_programs

    def start() -> None:
        installation.claim(KEY)

    def end() -> None:
        installation.stored["keys"].delete_one({"program": {"$exists": 1}})

    def read() -> object:
        change = start if starts else end
        change()
        found = running_programs()
        change()
        return found

    with connected(installation.uri):
        for _ in range(2):
            start()
    monkeypatch.setattr(registry, "running_programs", read)
    lines = installation.lines()
    assert (lines["replicas"].state, "earlier" in lines["replicas"].text) == (State.WELL, False)


def test_a_few_members_and_a_shard_are_found(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica set in which no node may be lost needs a look; one shard of a cluster has not all data."""
    monkeypatch.setattr("vault.core.documents.primary.MIN_MEMBERS", 3)
    [line] = installation.flaws().values()
    assert (line.subject, line.state) == ("mongodb", LOOK)
    monkeypatch.setattr(Primary, "is_single_shard", True)
    line = installation.flaws()["mongodb"]
    assert (line.state, "single shard" in line.text) == (DOWN, True)


@pytest.mark.parametrize(("days", "state"), [(-1, LOOK), (20, LOOK), (90, State.WELL)])
def test_the_end_of_a_certificate_is_shown(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, days: int, state: State
) -> None:
    """A line has the end of the certificate in each file; from 30 days before, it needs a look."""
    (tmp_path / "cert").write_bytes(pem(in_days(days)))
    monkeypatch.setattr(Settings, "certificates", Certificates.of({"TLS_CERT": str(tmp_path / "cert")}))
    line = installation.lines()["certificates"]
    assert (line.state, f"TLS_CERT until {in_days(days):%Y-%m-%d}" in line.text) == (state, True)


def test_an_open_service_needs_a_look(mongo_uri: str, stored: Stored) -> None:
    """Without authentication, what others can do needs a look."""
    installation = Installation({"MONGO_URI": mongo_uri, "MASTER_KEY": text(KEY)}, stored, KEY)
    lines = installation.lines()
    assert lines["auth"].text == "off"
    assert (lines["settings"].state, "AUTH_ENABLED is off" in lines["settings"].text) == (LOOK, True)


@pytest.mark.parametrize(
    ("function", "code", "expected"),
    [
        ("registry.running_programs", 13, ("replicas", LOOK, "docs/mongodb.md#the-mongodb-user")),
        ("keys_in_use.needs_any", 13, ("keys", DOWN, "docs/mongodb.md#the-mongodb-user")),
        ("keys_in_use.needs_any", 1, ("keys", LOOK, "docs/runbook.md")),
    ],
)
def test_what_cannot_be_read_is_not_known(
    installation: Installation,
    monkeypatch: pytest.MonkeyPatch,
    function: str,
    code: int,
    expected: tuple[str, State, str],
) -> None:
    """A part that MongoDB does not answer about is a line that says so; without the claims, it is down."""

    def refuse(*_: object) -> None:
        raise OperationFailure("not allowed", code)

    monkeypatch.setattr(f"vault.core.documents.{function}", refuse)
    [line] = installation.flaws().values()
    assert (line.subject, line.state, line.page) == expected
    assert line.text.startswith("not known: MongoDB ")


def test_many_hosts_and_odd_texts_are_short(installation: Installation) -> None:
    """A line names some hosts, and shows what anyone can store as a short text."""
    with connected(installation.uri):
        for _ in range(7):
            installation.claim(KEY)
    for number, one in enumerate(installation.stored["keys"].find({"program": {"$exists": 1}})):
        fields = {"program.host": f"\x1b[31m{number}" + "x" * 99, "program.version": "2"}
        installation.stored["keys"].update_one({"_id": one["_id"]}, {"$set": fields})
    shown = installation.lines()["replicas"].text
    assert " and 3 more (8 workers)" in shown
    assert "\x1b" not in shown
    assert len(shown) < 450


@pytest.mark.parametrize(
    ("privileges", "words"),
    [
        (
            Privileges({"audit_keys": ["insert"], "": ["listCollections"]}, []),
            "insert on audit_keys, listColl",
        ),
        (Privileges({str(number): ["find"] for number in range(9)}, []), "find on 4 and 4 more"),
        (Privileges({}, ["anyAction"]), "may rewrite the audit trail (anyAction)"),
    ],
)
def test_the_privileges_of_mongodb_s_user_are_compared(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, privileges: Privileges, words: str
) -> None:
    """What the user lacks, and what it should not have, needs a look."""
    monkeypatch.setattr("vault.core.documents.Database.privileges", lambda _: privileges)
    [line] = installation.flaws().values()
    assert (line.subject, line.state, words in line.text) == ("mongodb", LOOK, True)
    assert line.page == "docs/mongodb.md#the-mongodb-user"


def test_a_line_joins_its_problems_and_its_text() -> None:
    """Problems come first; without any, the line is well."""
    assert Line.of("a", "p", "text") == Line("a", State.WELL, "text", "p")
    assert Line.of("a", "p", "text", ["x", "y"]) == Line("a", LOOK, "x; y; text", "p")
    assert gravest([]) is State.WELL


def test_a_worker_shows_the_check_that_fails(environment: dict[str, str], stored: Stored) -> None:
    """A worker that cannot write the trail says so beside its claim, until it can."""
    with running_app(environment) as app:
        own = services(app)

        def shown() -> Line:
            """Return the line after the next renewal."""
            own.startup.attempt()
            # A renewal is due after 10 seconds.
            own.guard._worker._renewed -= 11
            own.guard.look()
            return own.overview.lines()[0]

        assert shown().state is State.WELL
        block_trail(stored)
        # The commit fails, and so does what begins the next stream.
        assert app.test_client().post("/vault/secret/create", json={"secret": "YQ=="}).status_code == 503
        line = shown()
        assert (line.state, "1 worker not ready: audit" in line.text) == (DOWN, True)
        restore_trail(stored)
        assert shown().state is State.WELL

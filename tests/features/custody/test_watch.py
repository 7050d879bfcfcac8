"""The keyring file while a process runs: one process records and checks, and says what changes."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.custody import make_program, set_code, turned, without_macs
from tests.support.rotation import Stored
from vault.common.errors import AuditUnavailableError, StorageUnavailableError
from vault.common.outcomes import Status
from vault.core.attempt import Action, Attempt
from vault.core.crypto import MasterKey
from vault.core.principal import OPERATOR
from vault.core.trail.writer import AuditTrail
from vault.features.custody import handover, metrics
from vault.features.custody import watch as custody
from vault.features.custody.errors import KeyringFileError
from vault.features.custody.keyring_file import KeyringFile, Slot, WrappedKey
from vault.features.custody.opening import Opened, SlotState, identify, of_file
from vault.features.custody.watch import CustodyWatch, about_file, newest_file, opened_attempts

pytestmark = pytest.mark.process

SLOTS = ("a", "b")
DIGEST = "hash of the file"


class Gauges(dict[str, float]):
    """The values of the gauge, by slot."""

    def labels(self, name: str) -> "Gauges._One":
        """Return the gauge of a slot."""
        return Gauges._One(self, name)

    class _One:
        def __init__(self, gauges: "Gauges", name: str) -> None:
            self._gauges, self._name = gauges, name

        def set(self, value: float) -> None:
            self._gauges[self._name] = value


@pytest.fixture
def file(tmp_path: Path, key: MasterKey) -> Path:
    """Return a file with the slots `a` and `b`, and one for people."""
    slots = [Slot("people", "recovery", "3 of 5", b"blob")]
    for name in SLOTS:
        slots.append(Slot(name, "command", make_program(tmp_path / name), turned(key._material)))
    path = tmp_path / "keyring.json"
    path.write_text(KeyringFile((WrappedKey(key.id, "primary", tuple(slots)),)).text())
    return path


@pytest.fixture
def opened(key: MasterKey, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Opened]]:
    """Hand the key down to this process."""
    monkeypatch.setenv(handover.VARIABLE, "")
    reasons = ("b unavailable: " + "x" * 200,)
    made = [Opened(key.id, "a", "kek", "v1", "request-1", reasons, key._material, (), DIGEST, ("a", "b"))]
    handover.hand_down(made)
    yield made
    os.close(int(os.environ[handover.VARIABLE].rpartition("/")[2]))


@pytest.fixture
def _recording(trail: AuditTrail) -> AuditTrail:
    """Record attempts."""
    trail.connect()
    return trail


def watch(opened: list[Opened], file: Path) -> CustodyWatch:
    """Return the watch of one process."""
    return CustodyWatch(opened, file, {}, check_seconds=900)


def test_the_id_of_a_key_is_that_of_its_material(key: MasterKey) -> None:
    """Only 32 bytes are a key."""
    assert identify(key._material) == key.id
    assert identify(b"short") == ""


@pytest.mark.usefixtures("_recording")
def test_one_process_records_the_opening(
    opened: list[Opened], file: Path, stored: Stored, key: MasterKey
) -> None:
    """There is one entry for each key, with slot, KEK, version, request and the slots before it."""
    first, second = watch(opened, file), watch(opened, file)
    for one in (second, first, second):
        one.record()
    [entry] = stored.audit_logs.find({"action": "key_opened"})
    skipped = entry["details"].pop("skipped")
    assert entry["details"] == {
        "key_id": key.id,
        "slot": "a",
        "kek": "kek",
        "version": "v1",
        "request_id": "request-1",
        "slots": ["a", "b"],
        "file": DIGEST,
        "is_newest": True,
    }
    assert entry["principal"] == "service"
    assert [len(reason) for reason in skipped] == [120]


@pytest.mark.promise(7)
@pytest.mark.usefixtures("_recording")
def test_a_file_that_was_put_back_never_becomes_the_newest(
    opened: list[Opened], file: Path, stored: Stored, caplog: pytest.LogCaptureFixture
) -> None:
    """A start with an earlier file is recorded and logged as such, and the changed file stays the newest."""
    now = KeyringFile.read(file).digest
    opened_attempts(of_file(KeyringFile.read(file), opened), OPERATOR)[0].finish(Status.SUCCESS)
    changed = Attempt(
        action=Action.CUSTODY_CHANGED, principal=OPERATOR, details=about_file("2", accepts=True)
    )
    changed.finish(Status.SUCCESS)
    for details in ({"file": "forged"}, {"file": "forged", "is_newest": True}):
        Attempt(action=Action.LIST, principal=OPERATOR, details=details).finish(Status.SUCCESS)
    one = watch(of_file(KeyringFile.read(file), opened), file)
    one.record()
    one.check()
    newest = newest_file()
    assert newest
    assert newest.digest == "2"
    entries = stored.audit_logs.find({"details.is_newest": False})
    assert [entry["details"]["file"] for entry in entries] == [now, now]
    assert caplog.messages.count("the keyring file is not the newest on record") == 1


@pytest.mark.usefixtures("_recording")
def test_a_trail_that_cannot_be_searched_prevents_no_start(
    opened: list[Opened], file: Path, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The entry then leaves open whether the file is the newest one."""

    def fail() -> None:
        raise StorageUnavailableError("away")

    monkeypatch.setattr(custody, "newest_file", fail)
    watch(opened, file).record()
    [entry] = stored.audit_logs.find({"action": "key_opened"})
    assert entry["details"]["file"] == DIGEST
    assert "is_newest" not in entry["details"]


def test_without_a_trail_the_opening_stays_to_be_recorded(opened: list[Opened], file: Path) -> None:
    """A process whose entry fails tries again, and does not serve until then."""
    one = watch(opened, file)
    for _ in range(2):
        with pytest.raises(AuditUnavailableError):
            one.record()


@pytest.mark.usefixtures("_recording")
def test_slots_are_checked_by_one_process(
    opened: list[Opened],
    file: Path,
    stored: Stored,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The gauge and the log follow each slot but people's, and each check has its entry."""
    gauges = Gauges()
    monkeypatch.setattr(metrics, "SLOT_UP", gauges)
    first, second = watch(opened, file), watch(opened, file)
    first.check()
    second.check()
    assert gauges == {"a": 1, "b": 1}
    set_code(file.parent / "b", 75)
    first.check()
    first.check()
    assert gauges == {"a": 1, "b": 0}
    set_code(file.parent / "b", None)
    first.check()
    assert gauges == {"a": 1, "b": 1}
    lines = [record.getMessage() for record in caplog.records if record.name == custody.__name__]
    assert [line[:14] for line in lines] == ["slot b is down", "slot b is up a"]
    entries = [*stored.audit_logs.find({"action": "custody_checked"})]
    assert len(entries) == 4
    assert {one["slot"]: one["state"] for one in entries[1]["details"]["slots"]} == {
        "a": "up",
        "b": "unavailable",
    }
    [down] = stored.audit_logs.find({"action": "custody_slot_down"})
    assert (down["details"]["slot"], down["details"]["state"]) == ("b", "unavailable")


@pytest.mark.usefixtures("_recording")
def test_a_slot_shows_before_another_one_answers(
    opened: list[Opened], file: Path, stored: Stored, monkeypatch: pytest.MonkeyPatch, key: MasterKey
) -> None:
    """The gauge has each state as soon as it is known; the entry has all, in the order of the file."""
    gauges = Gauges()
    monkeypatch.setattr(metrics, "SLOT_UP", gauges)

    def check(*_: object, **__: object) -> Iterator[SlotState]:
        yield SlotState(key.id, "b", "command", "kek", "up")
        assert gauges == {"b": 1}
        yield SlotState(key.id, "a", "command", "kek", "unavailable")

    monkeypatch.setattr(custody, "check", check)
    watch(opened, file).check()
    assert gauges == {"a": 0, "b": 1}
    entry = stored.audit_logs.find_one({"action": "custody_checked"})
    assert entry
    assert [one["slot"] for one in entry["details"]["slots"]] == ["a", "b"]


@pytest.mark.usefixtures("_recording")
def test_no_slot_is_up_without_a_file(
    opened: list[Opened], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that cannot be read shows as slots that are down: the next start would fail."""
    gauges = Gauges()
    monkeypatch.setattr(metrics, "SLOT_UP", gauges)
    one, content = watch(opened, file), file.read_text()
    file.write_text("broken")
    with pytest.raises(KeyringFileError):
        one.check()
    assert gauges == {"a": 0}
    file.write_text(content)
    one.check()
    assert gauges == {"a": 1, "b": 1}
    file.unlink()
    with pytest.raises(KeyringFileError):
        one.check()
    assert gauges == {"a": 0, "b": 0}


@pytest.mark.parametrize(
    "edit", [without_macs, lambda text: text.replace('"name": "b"', '"name": "c"')], ids=["left out", "wrong"]
)
def test_no_slot_is_up_in_a_file_that_the_keys_do_not_confirm(
    opened: list[Opened],
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    key: MasterKey,
    edit: Callable[[str], str],
) -> None:
    """A running service notices that someone has changed a file with MACs: the next start would fail."""
    gauges = Gauges()
    monkeypatch.setattr(metrics, "SLOT_UP", gauges)
    made = KeyringFile.read(file).confirmed({key.id: key._material})
    one = watch(of_file(made, opened), file)
    file.write_text(edit(made.text()))
    with pytest.raises(KeyringFileError):
        one.check()
    assert gauges == {"a": 0}


@pytest.mark.usefixtures("_recording")
@pytest.mark.parametrize("at_start", [False, True])
def test_a_token_that_refused_is_not_asked_again(
    opened: list[Opened], file: Path, monkeypatch: pytest.MonkeyPatch, *, at_start: bool
) -> None:
    """A wrong PIN is not tried by each check, nor after the start: the slot stays down until the next one."""
    gauges = Gauges()
    monkeypatch.setattr(metrics, "SLOT_UP", gauges)
    file.write_text(file.read_text().replace('"recovery"', '"pkcs11"').replace("3 of 5", "no URI"))
    # Another provider that refused at the start is asked again.
    one = watch([replace(opened[0], refused=("people", "b"))] if at_start else opened, file)
    tried: list[str] = []
    really_check = custody.check

    def check(*arguments: object, **options: object) -> object:
        for state in really_check(*arguments, **options):  # type: ignore[arg-type]
            tried.append(state.slot)
            yield state

    monkeypatch.setattr(custody, "check", check)
    one.check()
    one.check()
    assert sorted(tried) == ["a", "a", "b", "b", *([] if at_start else ["people"])]
    assert gauges == {"people": 0, "a": 1, "b": 1}
    one.start()
    one.close()

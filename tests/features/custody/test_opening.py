"""Opening: the first slot that opens, retries for those that are away, one request to those that refuse."""

import logging
from dataclasses import dataclass, field
from threading import Event

import pytest

from vault.features.custody import opening
from vault.features.custody.errors import CustodyRefusedError, CustodyUnavailableError
from vault.features.custody.keyring_file import KeyringFile, Slot, WrappedKey
from vault.features.custody.opening import Wrapper, check, open_all
from vault.features.custody.provider import Unwrapped, context_of
from vault.features.custody.recovery import Recovery

AWAY, NO = CustodyUnavailableError("away"), CustodyRefusedError("no")
SECRET = bytes(range(32))


@dataclass
class Fake:
    """A provider that answers with *replies* in turn, and with the last one from then on."""

    replies: list[bytes | Exception]
    contexts: list[dict[str, str]] = field(default_factory=list)
    request_id: str = "request-1"

    def wrap(self, material: bytes, context: dict[str, str]) -> bytes:
        """Return *material* in another form."""
        self.contexts.append(context)
        return b"wrapped " + material.hex().encode()

    def unwrap(self, blob: bytes, context: dict[str, str]) -> Unwrapped:
        """Return or raise the next reply."""
        del blob
        self.contexts.append(context)
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, Exception):
            raise reply
        return Unwrapped(reply, self.request_id)

    def describe(self, blob: bytes) -> str:
        """Return a version."""
        return f"v{len(blob)}"

    def close(self) -> None:
        """Do nothing."""


@pytest.fixture(autouse=True)
def digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the ID of a key be its first digit, 16 times."""
    monkeypatch.setattr(opening, "identify", lambda material: material[:1].decode() * 16)


def file_of(*slots: str) -> KeyringFile:
    """Return a file whose primary key 1, after a fallback 2, has these slots."""
    made = tuple(Slot(name, "recovery" if name == "people" else "command", name, b"blob") for name in slots)
    return KeyringFile((WrappedKey("2" * 16, "fallback", made), WrappedKey("1" * 16, "primary", made)))


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the pauses between attempts, which take no time."""
    now, made = [0.0], []

    def sleep(seconds: float) -> None:
        made.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(opening, "sleep", sleep)
    monkeypatch.setattr(opening, "monotonic", lambda: now[0])
    return made


def opened(file: KeyringFile, fakes: dict[str, Fake], seconds: float = 300) -> list[opening.Opened]:
    """Return the keys of *file* that *fakes* open, by slot."""
    return open_all(file, lambda slot: fakes[slot.name], timeout_seconds=seconds)


def test_the_first_slot_that_opens_is_enough(pauses: list[float], caplog: pytest.LogCaptureFixture) -> None:
    """Keys come with the primary one first, with its slot, the KEK's version and the slots before it."""
    fakes = {"a": Fake([AWAY, b"2"]), "b": Fake([NO, b"2"]), "c": Fake([b"1"])}
    file = file_of("people", "a", "b", "c")
    primary, fallback = opened(file, fakes)
    assert (primary.key_id, primary.slot, primary.kek, primary.version) == ("1" * 16, "c", "c", "v4")
    assert primary.skipped == ("a unavailable: away", "b refused: no")
    assert primary.refused == ("b",)
    assert primary.file == fallback.file == file.digest
    assert primary.slots == ("people", "a", "b", "c")
    assert caplog.messages == ["slot a unavailable: away", "slot b refused: no"]
    assert (fallback.key_id, fallback.slot, fallback.skipped) == ("2" * 16, "a", ())
    assert primary.request_id == "request-1"
    assert fakes["c"].contexts == [context_of("1" * 16)]
    assert repr(b"1") not in repr(primary)
    assert pauses == []


def test_only_unavailable_slots_are_asked_again(
    pauses: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    """A provider that refuses is asked once; an unavailable one is asked again, after growing pauses."""
    fakes = {"a": Fake([AWAY, AWAY, AWAY, b"1", b"2"]), "b": Fake([NO])}
    primary, _ = opened(file_of("a", "b"), fakes)
    assert primary.slot == "a"
    assert len(fakes["b"].contexts) == 1
    assert [0.5 <= pause / 2**at <= 1 for at, pause in enumerate(pauses)] == [True] * 3
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 5
    assert [text.startswith("waiting for custody") for text in caplog.messages] == [True] * 3 + [False] * 2


def test_unavailable_providers_end_the_start_after_the_timeout(pauses: list[float]) -> None:
    """Exit code 5 after the timeout, with every slot's reason."""
    with pytest.raises(CustodyUnavailableError, match="a unavailable: away; b refused: no") as caught:
        opened(file_of("a", "b"), {"a": Fake([AWAY]), "b": Fake([NO])})
    assert caught.value.exit_code == 5
    assert sum(pauses) == pytest.approx(300)
    assert max(pauses) <= 30


def test_a_provider_that_returns_at_the_last_moment_opens_the_key(pauses: list[float]) -> None:
    """No start gives up before the timeout: a last round of requests begins when it has passed."""
    # Less than any pause.
    (found,) = opened(KeyringFile(file_of("a").keys[1:]), {"a": Fake([AWAY, b"1"])}, seconds=0.3)
    assert found.slot == "a"
    assert sum(pauses) == pytest.approx(0.3)


def test_refusals_end_the_start_at_once(pauses: list[float]) -> None:
    """If all slots refuse, the start ends with exit code 1, and no one is asked again."""
    fakes = {"a": Fake([NO]), "b": Fake([NO])}
    with pytest.raises(CustodyRefusedError, match="no slot opens") as caught:
        opened(file_of("a", "b", "people"), fakes)
    assert caught.value.exit_code == 1
    assert [len(fake.contexts) for fake in fakes.values()] == [1, 1]
    with pytest.raises(CustodyRefusedError, match="only a recovery slot"):
        opened(file_of("people"), {})
    assert pauses == []


@pytest.mark.parametrize("request_id", ["", "r" * 129, "\x1b[2J", "a b", "\u202e"], ids=ascii)
def test_only_a_plain_request_id_is_kept(request_id: str) -> None:
    """A provider's ID of a request reaches trail and terminal as short visible ASCII, or not at all."""
    (found,) = opened(KeyringFile(file_of("a").keys[1:]), {"a": Fake([b"1"], request_id=request_id)})
    assert found.request_id == ""


@pytest.mark.promise(7)
def test_another_key_is_tampering(caplog: pytest.LogCaptureFixture) -> None:
    """A slot that opens another key's material is refused, also with swapped slots, and logged."""
    with pytest.raises(CustodyRefusedError, match="opens another key"):
        opened(file_of("a"), {"a": Fake([b"3"])})
    assert "tampering: slot a opens another key than" in caplog.text


def test_a_check_tries_every_slot() -> None:
    """The check says of every slot of every key whether it opens, and why not."""
    fakes = {"a": Fake([AWAY]), "b": Fake([NO]), "c": Fake([b"1"])}
    states = check(
        file_of("a", "b", "c", "people"),
        lambda slot: fakes[slot.name],
        skips=lambda slot: slot.scheme == "recovery",
    )
    found = sorted((one.slot, one.key_id[0], one.state, one.reason[:4]) for one in states)
    assert found == [
        *(("a", "1", "unavailable", "away"), ("a", "2", "unavailable", "away")),
        *(("b", "1", "refused", "no"), ("b", "2", "refused", "no")),
        *(("c", "1", "up", ""), ("c", "2", "refused", "slot")),
    ]
    assert [len(fakes[name].contexts) for name in "abc"] == [1, 2, 2]


def test_a_mute_slot_delays_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """The states of the others are known while one provider does not answer."""
    others_known = Event()

    def wait(*_: object) -> Unwrapped:
        assert others_known.wait(60)
        raise AWAY

    mute, fakes = Fake([]), {"b": Fake([b"1"])}
    monkeypatch.setattr(mute, "unwrap", wait)
    states = check(
        KeyringFile(file_of("a", "b").keys[1:]),
        lambda slot: fakes.get(slot.name, mute),
        skips=lambda _: False,
    )
    assert next(states).slot == "b"
    others_known.set()
    assert [(one.slot, one.state) for one in states] == [("a", "unavailable")]


def test_what_is_wrapped_is_opened_before_it_counts() -> None:
    """A provider that does not wrap, or not what it returns, gets no slot; recovery is checked by its tag."""
    one, two = b"1 is a key", b"2 is a key"
    empty = Slot("a", "command", "k")
    wrapper = Wrapper(lambda _: Fake([one]))
    made = wrapper.wrap(empty, "1" * 16, one)
    assert wrapper.request_ids == ["request-1"]
    assert made.blob == b"wrapped " + one.hex().encode()
    with pytest.raises(CustodyRefusedError, match="opens another key"):
        Wrapper(lambda _: Fake([two])).wrap(empty, "1" * 16, one)
    with pytest.raises(CustodyRefusedError, match="slot a returned the key as it is"):
        Wrapper(lambda _: Fake([b"1"])).wrap(empty, "1" * 16, b"1")
    people = Recovery("3 of 5", secret=SECRET)
    blob = Wrapper(lambda _: people).wrap(empty, "1" * 16, one).blob
    again = Wrapper(lambda _: Recovery("3 of 5", blob=blob)).wrap(empty, "2" * 16, two)
    assert people.unwrap(again.blob, context_of("2" * 16)).material == two


@pytest.mark.promise(7)
def test_no_new_key_is_sent_to_a_slot_that_does_not_hold_the_old_one() -> None:
    """An address that a writer to the file has put there learns no key."""
    slot = Slot("a", "command", "k", b"blob")
    key = WrappedKey("1" * 16, "primary", (slot,))

    def trusted(provider: Fake | Recovery, blob: bytes = b"") -> None:
        held = Slot("a", "command", "k", blob or slot.blob)
        Wrapper(lambda _: provider).require_trusted(held, key, b"1")

    trusted(Fake([b"1"]))
    for fake in (Fake([b"2"]), Fake([NO])):
        with pytest.raises(CustodyRefusedError, match="nothing more is wrapped there"):
            trusted(fake)
    with pytest.raises(CustodyUnavailableError):
        trusted(Fake([AWAY]))
    people = Recovery("3 of 5", secret=SECRET)
    blob = people.wrap(b"1", context_of("1" * 16))
    trusted(Recovery("3 of 5", blob=blob), blob)
    with pytest.raises(CustodyRefusedError, match="exchanged"):
        trusted(Recovery("3 of 5", blob=people.wrap(b"2", {})), people.wrap(b"2", {}))

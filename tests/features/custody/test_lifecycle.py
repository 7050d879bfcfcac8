"""Each scheme with its real provider, from the first wrapping to the removal of its slot."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.features.custody.conftest import Emulator, Request, Stub, TransitEngine
from tests.features.custody.test_awskms import ARN, STATIC, kms
from tests.support.custody import make_program, set_code
from vault.features.custody.errors import CustodyRefusedError, CustodyUnavailableError, KeyringFileError
from vault.features.custody.keyring_file import KeyringFile, Slot, WrappedKey
from vault.features.custody.opening import Opened, Wrapper, check, identify, open_all
from vault.features.custody.providers import Providers

pytestmark = pytest.mark.process

KEYS = [bytes(range(32)), bytes(range(32, 64))]
#: Extends a register of the TPM, as a changed boot does.
_EXTEND = """
from tpm2_pytss import ESAPI
from tpm2_pytss.constants import ESYS_TR
with ESAPI() as tpm:
    tpm.pcr_event(ESYS_TR.PCR7, b"another boot")
"""


@dataclass
class World:
    """A provider that can be made to fail."""

    slot: Slot
    #: The settings of an operator, and of a replica.
    operator: dict[str, str]
    replica: dict[str, str]
    make_unavailable: Callable[[], None]
    make_available: Callable[[], None]
    #: Makes the provider refuse what it has wrapped until then.
    make_refuse: Callable[[], None]

    def wrapped(self) -> KeyringFile:
        """Return a file with two keys in the slot."""
        with Providers(self.operator) as providers:
            wrapper = Wrapper(providers.of)
            keys = [
                WrappedKey(identify(key), role, (wrapper.wrap(self.slot, identify(key), key),))
                for key, role in zip(KEYS, ("primary", "fallback"), strict=True)
            ]
        return KeyringFile(tuple(keys))

    def opened(self, file: KeyringFile) -> list[Opened]:
        """Return the keys that a start of a replica opens."""
        with Providers(self.replica) as providers:
            return open_all(file, providers.of, timeout_seconds=0)

    def states(self, file: KeyringFile) -> set[str]:
        """Return the states that a running replica finds."""
        with Providers(self.replica) as providers:
            return {one.state for one in check(file, providers.of, skips=lambda _: False)}


def _script(folder: Path) -> World:
    program = folder / "program"

    def exits_with(code: int | None) -> Callable[[], None]:
        return lambda: set_code(program, code)

    slot = Slot("a", "command", make_program(program))
    return World(slot, {}, {}, exits_with(75), exits_with(None), exits_with(1))


def _token(hsm: dict[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    configuration, empty = os.environ["SOFTHSM2_CONF"], folder / "empty.conf"
    (folder / "tokens").mkdir()
    empty.write_text(f"directories.tokendir = {folder / 'tokens'}\n")
    replica = dict(hsm)
    return World(
        Slot("a", "pkcs11", "pkcs11:token=sm;object=kek-1"),
        hsm,
        replica,
        lambda: monkeypatch.setenv("SOFTHSM2_CONF", str(empty)),
        lambda: monkeypatch.setenv("SOFTHSM2_CONF", configuration),
        lambda: replica.update(PKCS11_PIN="4321"),
    )


def _engine(transit: TransitEngine, stub: Stub) -> World:
    """Return OpenBao behind a relay, which can be switched off."""

    def relay(request: Request) -> tuple[int, dict[str, str], bytes]:
        headers = {"X-Vault-Token": request.headers["X-Vault-Token"]}
        reply = transit.bao.send(request.method, request.path, request.body, headers)
        return reply.status, {}, reply.text.encode()

    def switch(is_on: bool) -> None:
        stub.answer = relay if is_on else lambda _: (503, {}, {"errors": ["Vault is sealed"]})

    switch(True)
    replica = {"TRANSIT_TOKEN": transit.reader}
    return World(
        Slot("a", "transit", f"{stub.url}/v1/transit/keys/sm"),
        transit.settings("admin"),
        replica,
        lambda: switch(False),
        lambda: switch(True),
        lambda: setattr(stub, "answer", lambda _: (403, {}, {"errors": ["permission denied"]})),
    )


def _cloud(stub: Stub) -> World:
    def be(state: str) -> Callable[[], None]:
        return lambda: setattr(stub, "answer", kms(stub, state))

    be("Enabled")()
    settings = STATIC | {"AWS_ENDPOINT_URL_KMS": stub.url}
    slot = Slot("a", "awskms", ARN)
    return World(
        slot, settings, settings, be("KeyUnavailableException"), be("Enabled"), be("AccessDeniedException")
    )


def _chip(tpm: Emulator) -> World:
    def boot_differently() -> None:
        subprocess.run([sys.executable, "-c", _EXTEND], check=True)

    return World(Slot("a", "tpm2", "tpm2:pcrs=7"), {}, {}, tpm.stop, tpm.start, boot_differently)


@pytest.fixture(params=["command", "pkcs11", "transit", "awskms", "tpm2"])
def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Return each provider in turn."""
    get = request.getfixturevalue
    match request.param:
        case "command":
            return _script(tmp_path)
        case "pkcs11":
            return _token(get("hsm"), tmp_path, monkeypatch)
        case "transit":
            return _engine(get("transit"), get("stub"))
        case "awskms":
            return _cloud(get("stub"))
    return _chip(get("tpm"))


@pytest.mark.promise(7)
def test_a_slot_from_its_first_wrapping_to_its_removal(world: World) -> None:
    """Unavailable at a start and during a run, forged, swapped, rewrapped, refused and removed."""
    file = world.wrapped()
    assert [one.material for one in world.opened(file)] == KEYS
    world.make_unavailable()
    with pytest.raises(CustodyUnavailableError, match="no slot opens"):
        world.opened(file)
    assert world.states(file) == {"unavailable"}
    world.make_available()
    assert world.states(file) == {"up"}

    blobs = [key.slots[0].blob for key in file.keys]
    for wrong in (blobs[::-1], [blob[:-1] + bytes([blob[-1] ^ 1]) for blob in blobs], [b"forged"] * 2):
        keys = zip(file.keys, wrong, strict=True)
        forged = KeyringFile(
            tuple(replace(key, slots=(replace(key.slots[0], blob=blob),)) for key, blob in keys)
        )
        with pytest.raises(CustodyRefusedError, match="no slot opens"):
            world.opened(forged)

    again = world.wrapped()
    assert [one.material for one in world.opened(again)] == KEYS
    more = again.with_slots({key.id: replace(key.slots[0], name="b") for key in again.keys})
    left = more.without_slot("a")
    assert {one.slot for one in world.opened(left)} == {"b"}
    with pytest.raises(KeyringFileError, match="last one of a key"):
        left.without_slot("b")

    world.make_refuse()
    with pytest.raises(CustodyRefusedError, match="no slot opens"):
        world.opened(again)
    assert world.states(again) == {"refused"}

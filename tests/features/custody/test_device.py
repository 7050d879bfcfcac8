"""Devices: a SoftHSM token with keys that cannot be extracted, a TPM emulator, and libraries that fail."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.features.custody.conftest import MODULE, Emulator, make_token
from vault.features.custody import child
from vault.features.custody.device import Device, Library
from vault.features.custody.errors import CustodyRefusedError, CustodyUnavailableError
from vault.features.custody.provider import context_of

pytestmark = pytest.mark.process

KEY, CONTEXT, OTHER = bytes(range(32)), context_of("1" * 16), context_of("2" * 16)
TOKEN = "vault.features.custody.pkcs11_token"
#: Puts AES keys on the token without its PIN, under the names of others.
_PLANT_KEYS = f"""
import pkcs11
from pkcs11 import Attribute, KeyType, ObjectClass
known = {{Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.AES}}
known |= {{Attribute.VALUE: bytes(32), Attribute.TOKEN: True, Attribute.PRIVATE: False}}
with pkcs11.lib({str(MODULE)!r}).get_token(token_label="sm").open(rw=True) as session:
    for label in ("kek-1", "rsa"):
        session.create_object({{**known, Attribute.LABEL: label}})
"""
#: Extends a register of the TPM, as a changed boot does.
_EXTEND = """
from tpm2_pytss import ESAPI
from tpm2_pytss.constants import ESYS_TR
with ESAPI() as tpm:
    tpm.pcr_event(ESYS_TR.PCR7, b"another boot")
"""
#: Leaves the TPM, from its next start on, only PCRs with SHA-1.
_ONLY_SHA1 = """
from tpm2_pytss import ESAPI
from tpm2_pytss.constants import TPM2_ALG
from tpm2_pytss.types import TPML_PCR_SELECTION, TPMS_PCR_SELECTION
none = TPMS_PCR_SELECTION(hash=TPM2_ALG.SHA256, sizeofSelect=3)
with ESAPI() as tpm:
    tpm.pcr_allocate(TPML_PCR_SELECTION([TPMS_PCR_SELECTION.parse("sha1:all"), none]))
"""


@pytest.fixture
def token(hsm: dict[str, str]) -> Iterator[Library]:
    """Return the library of the token."""
    library = Library(TOKEN, hsm)
    yield library
    library.close()


def refusal(library: Library, kek: str, blob: bytes = b"", context: dict[str, str] = CONTEXT) -> str:
    """Return why *library* refuses to unwrap."""
    with pytest.raises(CustodyRefusedError) as caught:
        Device(library, kek).unwrap(blob, context)
    return str(caught.value)


def test_a_token_wraps_by_a_key_that_never_leaves_it(token: Library) -> None:
    """AES-GCM binds the context, RSA-OAEP serves tokens without AES, and forged blobs are refused."""
    for uri in ("pkcs11:token=sm;object=kek-1", "pkcs11:token=sm;id=1", "pkcs11:object=rsa;token=%73m"):
        device = Device(token, uri)
        blob = device.wrap(KEY, CONTEXT)
        assert device.unwrap(blob, CONTEXT).material == KEY
        assert device.describe(blob) == ""
        assert "refused" in refusal(token, uri, blob[:-1] + bytes([blob[-1] ^ 1]))
    aes = "pkcs11:token=sm;object=kek-1"
    assert "refused" in refusal(token, aes, Device(token, aes).wrap(KEY, CONTEXT), OTHER)
    assert "no such key" in refusal(token, aes, b"\3")
    assert "no such key" in refusal(token, "pkcs11:token=sm;object=none", b"\1")
    assert "several keys" in refusal(token, "pkcs11:token=sm;object=twins", b"\1")
    with pytest.raises(CustodyRefusedError, match="no such key"):
        Device(token, "pkcs11:token=sm;object=none").wrap(KEY, CONTEXT)


def test_a_key_without_the_pin_is_no_kek(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anyone who can reach the token can put a known key on it: it neither wraps nor prevents a start."""
    settings = make_token(tmp_path)
    monkeypatch.setenv("SOFTHSM2_CONF", settings["SOFTHSM2_CONF"])
    subprocess.run([sys.executable, "-c", _PLANT_KEYS], check=True)
    with closing(Library(TOKEN, settings)) as library:
        for label, kind in (("kek-1", b"\1"), ("rsa", b"\2")):
            device = Device(library, f"pkcs11:token=sm;object={label}")
            blob = device.wrap(KEY, CONTEXT)
            assert blob[:1] == kind
            assert device.unwrap(blob, CONTEXT).material == KEY


@pytest.mark.parametrize(
    "uri",
    [
        "pkcs11:",
        "pkcs11:token=sm",
        "pkcs11:object=kek-1",
        "pkcs11:token=sm;object=kek-1?pin-value=1234",
        "pkcs11:token=sm;object=kek-1;serial=1",
        "token=sm;object=kek-1",
    ],
)
def test_a_uri_names_a_token_and_a_key_and_nothing_else(token: Library, uri: str) -> None:
    """A PIN in the file, and attributes that would be ignored, are refused."""
    assert "URI" in refusal(token, uri)


@pytest.mark.promise(7)
def test_a_wrong_pin_is_tried_once(hsm: dict[str, str]) -> None:
    """For all keys of a start, a wrong PIN costs one of the token's tries."""
    library = Library(TOKEN, hsm | {"PKCS11_PIN": "4321"})
    assert "PinIncorrect" in refusal(library, "pkcs11:token=sm;object=kek-1")
    assert "not tried again" in refusal(library, "pkcs11:token=sm;object=kek-1")
    with pytest.raises(CustodyUnavailableError):
        Device(library, "pkcs11:token=none;object=kek-1").unwrap(b"", CONTEXT)
    assert "not tried again" in refusal(library, "pkcs11:token=sm;object=kek-1")
    library.close()


def test_a_token_that_is_away_is_found_once_it_is_there(hsm: dict[str, str]) -> None:
    """A token that is not there is unavailable; a module that cannot be loaded is a refusal."""
    library = Library(TOKEN, hsm)
    with pytest.raises(CustodyUnavailableError, match="does not answer"):
        Device(library, "pkcs11:token=other;object=kek-1").unwrap(b"", CONTEXT)
    options = ("--init-token", "--free", "--label", "other", "--so-pin", "12345678", "--pin", "1234")
    subprocess.run(["softhsm2-util", *options], check=True, stdout=subprocess.DEVNULL)
    assert "no such key" in refusal(library, "pkcs11:token=other;object=kek-1", b"\1")
    library.close()
    library.close()
    broken = Library(TOKEN, {"PKCS11_MODULE": "/nonexistent.so"})
    assert "PKCS11_MODULE" in refusal(broken, "pkcs11:token=sm;object=kek-1")
    broken.close()


def test_what_a_library_prints_is_no_reply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Output of a library in C, which shares the child's standard output, does not reach this process."""
    code = "import os; from vault.features.custody.device import serve\n"
    code += "def echo(kek, content, context): os.write(1, b'{}\\n'); return content\n"
    code += "serve(lambda _: {'unwrap': echo})\n"
    (tmp_path / "chatty.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    library = Library("chatty", {})
    assert Device(library, "any").unwrap(KEY, CONTEXT).material == KEY
    library.close()


@pytest.mark.promise("processes")
def test_no_other_process_reads_what_a_library_gets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the child is hardened, others of its user could open pipes, with PINs and keys in them."""
    code = "import os; from vault.features.custody.device import serve\n"
    code += "def opens(number):\n"
    code += "    try: os.open(f'/proc/self/fd/{number}', os.O_RDONLY)\n"
    code += "    except OSError: return b'no'\n"
    code += "    return b'yes'\n"
    code += "found = opens(0) + opens(1)\n"
    code += "serve(lambda _: {'unwrap': lambda *_: found})\n"
    (tmp_path / "library_of_tests.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with closing(Library("library_of_tests", {})) as library:
        assert Device(library, "any").unwrap(KEY, CONTEXT).material == b"nono"


@pytest.mark.parametrize(
    ("code", "seconds", "error"),
    [
        ("raise SystemExit(1)", 60, CustodyRefusedError),
        ("print('no JSON', flush=True)", 60, CustodyRefusedError),
        ("import time; time.sleep(60)", 1, CustodyUnavailableError),
    ],
)
def test_a_library_that_crashes_or_hangs_takes_nothing_along(
    code: str, seconds: int, error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash is a refusal, and silence means unavailable; the child is gone in both cases."""
    (tmp_path / "library_of_tests.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(child, "TIMEOUT_SECONDS", seconds)
    monkeypatch.setattr(child, "_GRACE_SECONDS", 0.1)
    library = Library("library_of_tests", {})
    with pytest.raises(error):
        Device(library, "any").unwrap(b"", CONTEXT)
    assert library._child is None


def test_a_tpm_opens_only_in_the_same_state(tpm: Emulator) -> None:
    """A sealed key opens while the PCRs are as they were, on this TPM; one that is away is unavailable."""
    library = Library("vault.features.custody.tpm", {})
    device = Device(library, "tpm2:pcrs=7,11")
    blob = device.wrap(KEY, CONTEXT)
    for _ in range(4):
        assert device.unwrap(blob, CONTEXT).material == KEY
    assert "policy check failed" in refusal(library, "tpm2:pcrs=8", blob)
    assert "refused" in refusal(library, "tpm2:pcrs=7,11", blob[:-1] + bytes([blob[-1] ^ 1]))
    assert "refused" in refusal(library, "tpm2:pcrs=7,11", b"")
    for kek in ("tpm2:pcrs=24", "tpm2:", "tpm2:pcrs=7;pin=1"):
        assert "not in the form" in refusal(library, kek, blob)
    device.close()
    tpm.stop()
    with pytest.raises(CustodyUnavailableError), closing(device):
        device.unwrap(blob, CONTEXT)
    tpm.start()
    with closing(device):
        assert device.unwrap(blob, CONTEXT).material == KEY
    subprocess.run([sys.executable, "-c", _EXTEND], check=True)
    with closing(device):
        assert refusal(library, "tpm2:pcrs=7,11", blob)


def test_a_tpm_seals_to_no_register_that_it_lacks(tpm: Emulator) -> None:
    """A policy leaves out registers of a hash that the firmware does not use: any state would open it."""
    subprocess.run([sys.executable, "-c", _ONLY_SHA1], check=True, stderr=subprocess.DEVNULL)
    tpm.stop()
    tpm.start()
    with (
        closing(Device(Library("vault.features.custody.tpm", {}), "tpm2:pcrs=7,11")) as device,
        pytest.raises(CustodyRefusedError, match="no PCR 7 with SHA-256"),
    ):
        device.wrap(KEY, CONTEXT)

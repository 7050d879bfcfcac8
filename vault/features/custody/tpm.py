"""The child process of the scheme `tpm2`: keys sealed by this machine's TPM to the state of its PCRs.

A blob is the sealed object: its public and its private part. It has no password, so the TPM's lock against
guesses does not apply to it. Keys are encrypted on the bus, by a session that is salted with the parent key.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from vault.common.processes import harden

if __name__ == "__main__":
    # Before the other modules are loaded: other processes of this user could attach to this one.
    harden()

from tpm2_pytss import ESAPI, TSS2_Exception
from tpm2_pytss.constants import ESYS_TR, TPM2_ALG, TPM2_SE, TPMA_OBJECT, TPMA_SESSION, TSS2_RC
from tpm2_pytss.types import (
    TPM2B_PRIVATE,
    TPM2B_PUBLIC,
    TPM2B_SENSITIVE_CREATE,
    TPMS_SENSITIVE_CREATE,
)

from vault.features.custody.device import Operation, serve
from vault.features.custody.errors import CustodyRefusedError, CustodyUnavailableError

_KEK = re.compile(r"tpm2:pcrs=([0-9]{1,2}(?:,[0-9]{1,2})*)")
_SEALED = TPMA_OBJECT.FIXEDTPM | TPMA_OBJECT.FIXEDPARENT | TPMA_OBJECT.NODA
_ENCRYPTED = TPMA_SESSION.CONTINUESESSION | TPMA_SESSION.DECRYPT | TPMA_SESSION.ENCRYPT


@contextmanager
def _translated() -> Iterator[None]:
    """Raise the library's errors as those of custody."""
    try:
        yield
    except TSS2_Exception as error:
        if error.rc & TSS2_RC.RC_LAYER_MASK == TSS2_RC.TCTI_RC_LAYER:
            raise CustodyUnavailableError(f"the TPM does not answer: {error}") from None
        raise CustodyRefusedError(f"the TPM refused: {error}") from None


@_translated()
def wrap(kek: str, material: bytes, context: bytes) -> bytes:
    """Return *material* sealed to the present values of the PCRs that *kek* names."""
    del context
    pcrs = _pcrs(kek)
    with ESAPI() as tpm, _parent(tpm) as parent:
        _require_measured(tpm, pcrs)
        with _session(tpm, parent, TPM2_SE.TRIAL) as trial:
            tpm.policy_pcr(trial, b"", pcrs)
            policy = tpm.policy_get_digest(trial)
        template = TPM2B_PUBLIC.parse("keyedhash", objectAttributes=_SEALED, authPolicy=policy)
        sensitive = TPM2B_SENSITIVE_CREATE(TPMS_SENSITIVE_CREATE(data=material))
        with _session(tpm, parent, TPM2_SE.HMAC) as session:
            private, public, *_ = tpm.create(parent, sensitive, template, session1=session)
    return bytes(public.marshal()) + bytes(private.marshal())


@_translated()
def unwrap(kek: str, blob: bytes, context: bytes) -> bytes:
    """Return the key that `wrap` sealed, if the PCRs still have the same values."""
    del context
    pcrs = _pcrs(kek)
    public, size = TPM2B_PUBLIC.unmarshal(blob)
    private, _ = TPM2B_PRIVATE.unmarshal(blob[size:])
    with (
        ESAPI() as tpm,
        _parent(tpm) as parent,
        _flushed(tpm, tpm.load(parent, private, public)) as sealed,
        _session(tpm, parent, TPM2_SE.POLICY) as session,
    ):
        tpm.policy_pcr(session, b"", pcrs)
        return bytes(tpm.unseal(sealed, session1=session))


def _pcrs(kek: str) -> str:
    match = _KEK.fullmatch(kek)
    if not match or any(int(number) > 23 for number in match[1].split(",")):
        raise CustodyRefusedError("the KEK is not in the form tpm2:pcrs=7, or 7,11 and so on")
    return f"sha256:{match[1]}"


def _require_measured(tpm: ESAPI, pcrs: str) -> None:
    """Refuse *pcrs* that the TPM lacks: a policy leaves them out, and the key would open in any state."""
    bank, _, numbers = pcrs.partition(":")
    for number in numbers.split(","):
        _, _, values = tpm.pcr_read(f"{bank}:{number}")
        if not len(values):
            raise CustodyRefusedError(
                f"the TPM has no PCR {number} with SHA-256", hint="enable its SHA-256 bank, in the firmware"
            )


def _parent(tpm: ESAPI) -> AbstractContextManager[ESYS_TR]:
    return _flushed(tpm, tpm.create_primary(None, "ecc:aes128cfb")[0])


def _session(tpm: ESAPI, parent: ESYS_TR, kind: TPM2_SE) -> AbstractContextManager[ESYS_TR]:
    handle = tpm.start_auth_session(parent, ESYS_TR.NONE, kind, "aes128cfb", TPM2_ALG.SHA256)
    if kind is not TPM2_SE.TRIAL:
        tpm.trsess_set_attributes(handle, _ENCRYPTED)
    return _flushed(tpm, handle)


@contextmanager
def _flushed(tpm: ESAPI, handle: ESYS_TR) -> Iterator[ESYS_TR]:
    """Yield *handle*, and free its place in the TPM afterwards."""
    try:
        yield handle
    finally:
        tpm.flush_context(handle)


def connect(_settings: dict[str, str]) -> Mapping[str, Operation]:
    """Return the operations of this machine's TPM."""
    return {"wrap": wrap, "unwrap": unwrap}


if __name__ == "__main__":
    serve(connect)

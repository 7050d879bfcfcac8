"""Checkpoints of other installations over HTTP, and the schemas of their requests and replies."""

from typing import Any

from marshmallow import ValidationError, fields

from vault.core.attempt import Action
from vault.core.principal import Scope
from vault.features.proofs.errors import CheckpointContradictedError
from vault.features.proofs.witnessed import WitnessedCheckpoints, heads_of
from vault.toolkit.document.errors import ErrorDoc
from vault.toolkit.document.fields import Body, BoundedList, Reply, matches, number_field, text_field
from vault.toolkit.operations.blueprint import Blueprint, current_attempt, services

_TIME = "2026-11-24T15:30:00.000Z"
_TIME_PATTERN = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}[.][0-9]{3}Z$"
_STREAM = "2-" + "9f" * 15
_SIGNER = "9b38c2dcf3dc7dd8"
_DIGEST = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
_SIGNATURE = "5e" * 64
_SIGNER_PATTERN, _HASH_PATTERN, _SIGNATURE_PATTERN = (f"^[0-9a-f]{{{count}}}$" for count in (16, 64, 128))
_MAX_DAYS = 36_500
#: More master keys than anyone drops. A schema checks 100,000 items a second, and bodies can be large.
_MAX_RETIRED = 1_000


def _hexadecimal(description: str, example: str, pattern: str) -> fields.String:
    check = matches(pattern, "Must be hexadecimal, of the length of the example.")
    return text_field(description, example, shape={"pattern": pattern}, required=True, validate=check)


def _time(description: str) -> fields.String:
    check = matches(_TIME_PATTERN, "Must be a time as in audit entries.")
    return text_field(description, _TIME, shape={"pattern": _TIME_PATTERN}, required=True, validate=check)


class HeadSchema(Body):
    """The newest entry of a stream."""

    stream = text_field("The stream.", _STREAM, shape={"pattern": "^[0-9a-f-]{1,64}$"}, required=True)
    seq = number_field("Its number in the stream.", 7, minimum=0, maximum=2**31 - 1, required=True)
    ts = _time("Its time.")
    hash = _hexadecimal("Its hash.", _DIGEST, _HASH_PATTERN)


class _Heads(fields.List[Any]):
    """Heads. A sender can have thousands, which are checked faster than by a schema for each."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> list[Any]:
        try:
            heads_of(value)
        except ValueError:
            raise ValidationError("Must be the heads of different streams.") from None
        found: list[Any] = value
        return found


class CheckpointSchema(Body):
    """A checkpoint, as `secret-manager audit checkpoint` prints it."""

    ts = _time("The time at which it was made.")
    heads = _Heads(
        fields.Nested(HeadSchema), required=True, metadata={"description": "The head of each stream."}
    )
    retired = BoundedList(
        _hexadecimal("A signer.", _SIGNER, _SIGNER_PATTERN),
        max_size=_MAX_RETIRED,
        required=True,
        metadata={"description": "The retired signing keys."},
    )
    signer = _hexadecimal("The signing key.", _SIGNER, _SIGNER_PATTERN)
    signature = _hexadecimal("Its signature.", _SIGNATURE, _SIGNATURE_PATTERN)


class ShownCheckpoint(Body):
    """A checkpoint of the sender's trail."""

    #: Of 25,000 heads: each start of a worker begins a stream.
    max_fields = 100_000

    checkpoint = fields.Nested(CheckpointSchema, required=True)
    closed = _Heads(
        fields.Nested(HeadSchema),
        load_default=list,
        metadata={
            "description": "The last entries of streams that the checkpoint no longer has, because the "
            "sender's trail lists them as closed."
        },
    )
    retention_days = number_field(
        "The sender's retention: streams past it may be missing. If omitted, or 0, entries are permanent.",
        90,
        minimum=0,
        maximum=_MAX_DAYS,
        default=0,
    )


class CounterSignature(Reply):
    """The signed statement that the checkpoint was shown; `audit verify --witnesses` verifies it."""

    sender = text_field("The principal that has shown it.", "site-a", required=True)
    digest = text_field("The SHA-256 of the checkpoint's canonical form.", _DIGEST, required=True)
    ts = text_field("The time, in UTC.", _TIME, shape={"format": "date-time"}, required=True)
    public_key = text_field("This trail's Ed25519 key: 32 bytes, in hexadecimal.", _DIGEST, required=True)
    signer = text_field("The key's name in the trail.", _SIGNER, required=True)
    signature = text_field("The signature, in hexadecimal.", _SIGNATURE, required=True)


blueprint = Blueprint(
    "Witness",
    __name__,
    url_prefix="/vault/witness",
    description="Be a witness of another installation's audit trail.",
    error_docs={
        "CheckpointContradicted": ErrorDoc(
            CheckpointContradictedError('Of stream "2-9f", another entry 7 was shown before.')
        )
    },
)

_EXAMPLE = {
    "checkpoint": {
        "ts": _TIME,
        "heads": [{"stream": _STREAM, "seq": 7, "ts": _TIME, "hash": _DIGEST}],
        "retired": [],
        "signer": _SIGNER,
        "signature": _SIGNATURE,
    },
    "closed": [],
    "retention_days": 0,
}


@blueprint.post("/checkpoint")
@blueprint.operation(
    Action.WITNESS_CHECKPOINT,
    scope=Scope.AUDIT_WITNESS,
    refusals=("CheckpointContradicted",),
    is_batch=True,
)
@blueprint.arguments(ShownCheckpoint, example=_EXAMPLE)
@blueprint.response(200, CounterSignature, description="The checkpoint is stored and counter-signed.")
def witness_checkpoint(body: dict[str, Any]) -> dict[str, Any]:
    """Show a checkpoint of another installation's trail.

    The service stores it as the newest one of this principal, and counter-signs it. It refuses a checkpoint
    that contradicts the one before: one with a lower or another head of a stream, or without a stream that
    is not closed and cannot have expired. It does not check the signature of the checkpoint, because it does
    not know the sender's keys.
    """
    made = body.pop("checkpoint")
    return services().of(WitnessedCheckpoints).confirm(made, **body, attempt=current_attempt())

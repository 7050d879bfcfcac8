"""The rows of proofs in the tables of general tests."""

from datetime import datetime

from tests.support.command_entries import of_mongodb
from vault.features.proofs.activity import WitnessActivity

ENTRIES = {"audit witness": of_mongodb(own_test=True)}

#: The kinds of errors that only commands have.
IN_COMMANDS = {"witness"}

#: An invalid value of each setting; what must not be shown of it begins with `hunter2`.
INVALID_SETTINGS = {
    "AUDIT_WITNESSES": "tsa+http://hunter2.example",
    "AUDIT_WITNESS_MINUTES": "0",
    "AUDIT_WITNESS_TOKEN": "hunter2 token",
    "AUDIT_WITNESS_CA": "/hunter2.pem",
}

_TIME = "2026-11-24T15:30:00.000Z"
#: A checkpoint of another installation.
_CHECKPOINT = {
    "ts": _TIME,
    "heads": [{"stream": "aa", "seq": 0, "ts": _TIME, "hash": "0f" * 32}],
    "retired": [],
    "signer": "0f" * 8,
    "signature": "0f" * 64,
}

#: Operations that need no secret of their own, each with a valid body, and changes to it: a contradiction.
QUERIES = {
    "/vault/witness/checkpoint": {
        "checkpoint": _CHECKPOINT,
        "closed": _CHECKPOINT["heads"],
        "retention_days": 1,
    }
}
QUERY_CHANGES = {
    "/vault/witness/checkpoint": [
        {"checkpoint": {**_CHECKPOINT, "heads": []}, "closed": [], "retention_days": 0}
    ]
}

#: Operations whose bodies can be much larger than a value.
LARGE = {"/vault/witness/checkpoint"}

#: Modules that print what they must not change.
OTHER_PRINTS = {"features/proofs/commands": "checkpoints as JSON in ASCII"}


def report_sections(text: str, time: datetime) -> dict[str, object]:
    """Return the sections of a report in which what others choose is *text*."""
    return {"witnesses": WitnessActivity(4, {text: time, "b.example": None})}


#: Settings with which the service would not start, and what `config check` says.
WRONG_SETTINGS = [
    (
        {"AUDIT_WITNESSES": "witness+https://issuer.example"},
        "AUDIT_WITNESS_TOKEN: is required with witness+https://….",
    ),
]

#: Settings that look like a mistake, and what `config check` says.
DOUBTFUL_SETTINGS = [
    ({"AUDIT_WITNESS_TOKEN": "smt_x"}, "AUDIT_WITNESS_TOKEN has no effect without AUDIT_WITNESSES"),
]

#: Settings of which some are in files that are not here.
SETTINGS_ELSEWHERE = [
    {"AUDIT_WITNESSES": "witness+https://issuer.example", "AUDIT_WITNESS_TOKEN_FILE": "/run/secrets/token"},
]

"""Apply edits, one after the other, and judge each."""

import json
from random import Random
from typing import Any

from pymongo.errors import PyMongoError

from tests.edits.edits import EDITS, Attack
from tests.edits.victim import EVIDENCE, Victim
from vault.audit import certificate, signing_keys
from vault.core.errors import InvalidCheckpointError


class UnnoticedError(AssertionError):
    """An edit changed the results of readers, and verification found no tampering."""


def run(victim: Victim, seed: int) -> bool:
    """Apply the edit of this *seed*; return whether it is tampering.

    Raises:
        UnnoticedError: It is not, and the results of readers changed.
    """
    random = Random(seed)  # noqa: S311 - must be repeatable
    edit = random.choice(EDITS)
    with victim.edited():
        try:
            edit(Attack(victim, random))
        except PyMongoError as error:
            # MongoDB refuses some writes; earlier ones of the same edit stay.
            refused = f", refused in part: {type(error).__name__}"
        else:
            refused = ""
        if any(finding.tampering for finding in victim.verify(EVIDENCE[seed % 3])):
            return True
        if victim.reads() != victim.shown:
            raise UnnoticedError(f"seed {seed}: {edit.__name__}{refused}")
        return False


def alter(victim: Victim, seed: int) -> bool:
    """Alter the certificate by the edit of this *seed*; return whether it is refused.

    Raises:
        UnnoticedError: It is not, and says something else.
    """
    random, text = Random(seed), victim.certificate  # noqa: S311 - must be repeatable
    genuine = json.loads(text)
    at = random.randrange(len(text))
    if random.random() < 0.5:
        piece = random.choice(("", "0", "9", '"', "a", text[random.randrange(len(text))]))
        text = text[:at] + piece + text[at + random.choice((0, 1, 1, 8)) :]
    else:
        made = json.loads(text)
        _alter(made, genuine, random)
        text = json.dumps(made)
    try:
        certificate.read(text, signing_keys.trusted(victim.keyring))
    except InvalidCheckpointError:
        return True
    if json.loads(text) != genuine:
        raise UnnoticedError(f"seed {seed}: the certificate")
    return False


def _alter(made: Any, genuine: Any, random: Random) -> None:
    """Change, remove, repeat or move one member of *made*, or of what is in it."""
    key = random.choice(list(made) if isinstance(made, dict) else range(len(made)))
    if isinstance(made[key], dict | list) and made[key] and random.random() < 0.8:
        _alter(made[key], genuine, random)
    elif random.random() < 0.3:
        del made[key]
    else:
        made[key] = random.choice((None, "", 0, 1, True, [], {}, made[key], *genuine.values()))

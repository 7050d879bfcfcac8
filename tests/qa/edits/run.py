"""Apply edits, one after the other, and judge each."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

from pymongo.errors import PyMongoError

from tests.qa.edits.compactions import ALL as EDITS
from tests.qa.edits.edits import FORGER, Attack
from tests.qa.edits.victim import EVIDENCE, STATEMENTS, Victim
from tests.support.statements import Statement
from vault.common.errors import InvalidCheckpointError
from vault.core.crypto import encoding
from vault.core.trail.receipts import Receipts
from vault.core.trail.streams import signing_keys


class UnnoticedError(AssertionError):
    """An edit changed the results of readers, and verification found no tampering."""


def run(victim: Victim, seed: int, evidence: str = "") -> bool:
    """Apply the edit of this *seed*; return whether it is tampering, by *evidence* or by each kind in turn.

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
        if any(finding.tampering for finding in victim.verify(evidence or EVIDENCE[seed % len(EVIDENCE)])):
            return True
        if victim.reads() != victim.shown:
            raise UnnoticedError(f"seed {seed}: {edit.__name__}{refused}")
        return False


def alter_statement(statement: Statement, victim: Victim, seed: int) -> bool:
    """Alter the *statement* by the edit of this *seed*; return whether it is refused.

    Raises:
        UnnoticedError: It is not, and says something else.
    """
    random, text = Random(seed), victim.statements[statement.name]  # noqa: S311 - must be repeatable
    genuine = json.loads(text)
    at = random.randrange(len(text))
    if random.random() < 0.5:
        piece = random.choice(("", "0", "9", '"', "a", text[random.randrange(len(text))]))
        text = text[:at] + piece + text[at + random.choice((0, 1, 1, 8)) :]
    else:
        made = json.loads(text)
        _alter(made, genuine, random)
        if random.random() < 0.5:
            made["public_key"] = FORGER.public.pem()
            made.pop("signature", None)
            made["signature"] = FORGER.sign(statement.purpose + encoding.canonical(made))
        text = json.dumps(made)
    try:
        statement.read(text, signing_keys.trusted(victim.keyring))
    except InvalidCheckpointError:
        return True
    if json.loads(text) != genuine:
        raise UnnoticedError(f"seed {seed}: the {statement.name}")
    return False


def alter_receipt(victim: Victim, seed: int) -> bool:
    """Alter a receipt by the edit of this *seed*; return whether it is refused, or a finding.

    Raises:
        UnnoticedError: It is not, and is another text than a genuine one.
    """
    random = Random(seed)  # noqa: S311 - must be repeatable
    text, other = random.choice(victim.receipts), random.choice(victim.receipts)
    version, payload, signature = text.split(".")
    kind = random.randrange(5)
    if kind == 0:
        at = random.randrange(len(text))
        piece = random.choice(("", "A", "-", ".", "=", "\n", "é", random.choice(text)))
        text = text[:at] + piece + text[at + random.choice((0, 1, 1, 4)) :]
    elif kind == 1:
        text = f"{version}.{payload}.{other.split('.')[2]}"
    elif kind == 2:
        # Several last digits decode to the same signature.
        text = text[:-1] + random.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    else:
        made = json.loads(urlsafe_b64decode(payload + "=="))
        _alter(made, made | {"seq": random.randrange(99)}, random)
        signed = f"{version}.{_encoded(encoding.canonical(made))}"
        seal = bytes.fromhex(FORGER.sign(signed.encode()))
        text = f"{signed}.{signature if kind == 3 else _encoded(seal)}"
    held = Receipts(signing_keys.trusted(victim.keyring))
    try:
        is_found = bool(list(held.add(text, 1)))
    except ValueError:
        return True
    if not is_found and text not in victim.receipts:
        raise UnnoticedError(f"seed {seed}: the receipt")
    return is_found


#: Each returns whether an alteration of what it is about is refused, by name.
ALTERATIONS: dict[str, Callable[[Victim, int], bool]] = {
    "receipt": alter_receipt,
    **{one.name: partial(alter_statement, one) for one in STATEMENTS},
}


def _encoded(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")


def _alter(made: Any, genuine: Any, random: Random) -> None:
    """Change, remove, repeat or move one member of *made*, or of what is in it."""
    key = random.choice(list(made) if isinstance(made, dict) else range(len(made)))
    if isinstance(made[key], dict | list) and made[key] and random.random() < 0.8:
        _alter(made[key], genuine, random)
    elif random.random() < 0.3:
        del made[key]
    else:
        made[key] = random.choice((None, "", 0, 1, True, [], {}, made[key], *genuine.values()))

"""Master keys in Docker secrets, which are immutable: each key has a secret of its own."""

from __future__ import annotations

import binascii
import os
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from itertools import count

from vault.clients.swarm.deployment.jobs import Job, Jobs
from vault.clients.swarm.deployment.manager import SERVICE, file_of
from vault.clients.swarm.deployment.program import DeploymentError
from vault.core.crypto.master_key import KEY_SIZE, MasterKey

#: The label of a Docker secret with a master key: the key's ID.
_LABEL = "secret-manager.key-id"
_BEGINNING = "master_key_v"
_SERVICE_USER = 10001
_DISTINCT_BYTES = 5

#: Prints name and key ID of each file with a master key.
_PROGRAM = """
import sys
from contextlib import suppress
from pathlib import Path
from marshmallow import ValidationError
from vault.common.config.validators import Key
from vault.core.crypto import MasterKey
for file in map(Path, sys.argv[1:]):
    with suppress(ValidationError):
        print(file.name, MasterKey(Key().deserialize(file.read_text().rstrip("\\n"))).id)
"""


def new_key() -> str:
    """Return a new master key."""
    return b64encode(os.urandom(KEY_SIZE)).decode()


def _material(key: str) -> bytes:
    """Return the bytes of a master key.

    Raises:
        DeploymentError: It is none.
    """
    try:
        material = key.encode("ascii") if len(key) == KEY_SIZE else b64decode(key, validate=True)
    except (UnicodeEncodeError, binascii.Error):
        material = b""
    if len(material) != KEY_SIZE or not key.isprintable():
        raise DeploymentError("MASTER_KEY must be the base64 of 32 bytes, or exactly 32 characters")
    return material


def require_key(key: str, running: str) -> str:
    """Return the master key that is set, which can be empty, or that of a *running* quick start.

    Raises:
        DeploymentError: It is invalid, or another one than the quick start's: a Docker secret is immutable.
    """
    if running and key not in ("", running):
        raise DeploymentError("the running service uses another MASTER_KEY", hint="unset the exported one")
    key = key or running
    # The service rejects a weak key too, but by then the key is in a Docker secret.
    if key and len(set(_material(key))) < _DISTINCT_BYTES:
        raise DeploymentError(
            "MASTER_KEY is too easy to guess", hint="create one with secret-manager keys generate"
        )
    return key


class MasterKeys:
    """The Docker secrets with master keys."""

    def __init__(self, jobs: Jobs) -> None:
        self._stack = jobs.stack
        self._jobs = jobs

    def held(self, image: str) -> Mapping[str, str]:
        """Return the ID of the key in each Docker secret with a master key, empty if it is unknown."""
        found = {
            one["Spec"]["Name"]: (one["Spec"].get("Labels") or {}).get(_LABEL, "")
            for one in self._stack.secrets(_BEGINNING)
        }
        unknown = [name for name, key_id in found.items() if not key_id]
        # Earlier versions set no label.
        if unknown and self._stack.find(SERVICE):
            found |= self._read(image, unknown)
        names = sorted(found, key=lambda name: [int(one) for one in re.findall("[0-9]+", name)])
        held = {name: found[name] for name in names}
        for name, key_id in held.items():
            self._stack.progress.say(
                f"The Docker secret {name} has the master key with the ID {key_id or 'unknown'}."
            )
        return held

    def _read(self, image: str, names: list[str]) -> Mapping[str, str]:
        secrets = [self._stack.reference("Secret", one, file_of(one, user=_SERVICE_USER)) for one in names]
        job = Job(
            image=image,
            entrypoint=("python",),
            arguments=("-c", _PROGRAM, *(f"/run/secrets/{name}" for name in names)),
            container={"Secrets": secrets},
            megabytes=256,
        )
        return dict(re.findall(r"^(master_key_v\S+) (\S+)$", self._jobs.tried(job), re.MULTILINE))

    def name_for(self, key: str, held: Mapping[str, str], chosen: str) -> str:
        """Return the name of the Docker secret for the service's master key.

        *key* is the exported key or a quick start's, *chosen* the operator's choice of a secret; both can be
        empty.

        Raises:
            DeploymentError: There are several, and no way to tell.
        """
        name = self._stack.setting("MASTER_KEY_FILE").rpartition("/")[2] or chosen
        if name:
            return name
        if key:
            key_id = MasterKey(_material(key)).id
            same = [one for one, held_id in held.items() if held_id == key_id]
            if same:
                return same[-1]
            # An exported key can be in a secret whose key is unknown.
            if self._stack.setting("MASTER_KEY") or all(held.values()):
                return self._unused()
        if len(held) > 1:
            raise DeploymentError(
                "several master keys found",
                hint="set MASTER_KEY_SECRET to the newest one that data is encrypted under",
            )
        return next(iter(held), f"{_BEGINNING}1")

    def _unused(self) -> str:
        taken = {one["Spec"]["Name"] for one in self._stack.secrets(_BEGINNING)}
        return next(name for number in count(1) if (name := f"{_BEGINNING}{number}") not in taken)

    def create(self, name: str, key: str) -> None:
        """Create the Docker secret of this name with a master key, unless it exists."""
        if self._stack.secret(name):
            return
        key_id = MasterKey(_material(key)).id
        self._stack.create_secret(name, key, {_LABEL: key_id})
        self._stack.progress.say(
            f"Created the Docker secret {name}, which has the master key with the ID {key_id}."
        )

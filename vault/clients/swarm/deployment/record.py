"""The record of a deployment, a Docker config: its stack files, and the variables that they read.

Any manager can repeat the deployment from it. It has no secrets.
"""

from __future__ import annotations

import json
import os
import re
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from vault.clients.swarm.deployment import certificates, images
from vault.clients.swarm.deployment.manager import STACK, Found, Manager
from vault.clients.swarm.deployment.program import DeploymentError
from vault.clients.swarm.engine import EngineError
from vault.common.credentials import masked

#: The stack files of every deployment, in a checkout.
STACK_FILES = ("stack.yml", "deploy/stack.secure.yml")

_LABEL = "secret-manager.deployment"
_BEGINNING = f"{STACK}-deployment-"
_DIGITS = 12
#: Variables that a deployment takes from the service or from Docker secrets, which may have newer values.
_OF_SERVICE = frozenset({"KEYRING_CONFIG", "MASTER_KEY", "MASTER_KEY_SECRET", "MONGO_URI", "REPLICAS"})
_SECRET = re.compile("PASS|TOKEN|SECRET|KEY|PIN|CREDENTIAL|URI|HEADERS")
_PUBLIC = re.compile("JWT_PUBLIC_KEY|MASTER_KEY_SECRET|.*_FILE")


def is_secret(name: str, value: str) -> bool:
    """Return whether the *value* of a variable may be a secret."""
    is_named_so = bool(_SECRET.search(name)) and not _PUBLIC.fullmatch(name)
    return is_named_so or masked(value) != value


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What a deployment was made of."""

    #: The texts of files by their paths in a checkout.
    files: Mapping[str, str]
    #: The paths of the further stack files.
    further: Sequence[str]
    #: The variables that the stack files read, and that were exported.
    variables: Mapping[str, str]
    #: The names of others, whose values may be secrets, and the paths of files outside the checkout.
    withheld: Sequence[str]

    @classmethod
    def of(
        cls, checkout: Path, further: Sequence[Path], merged: Mapping[str, Any], variables: Mapping[str, str]
    ) -> Record:
        """Return the record of a deployment from *checkout*, whose *merged* stack file names more files."""
        outside = {path: f"further/{number}-{path.name}" for number, path in enumerate(further)}
        stack_files = [*(checkout / name for name in (*STACK_FILES, certificates.FILE)), *further]
        named = [Path(one["file"]) for one in merged.get("configs", {}).values() if "file" in one]
        pinned = [path for path in [checkout / images.FILE] if path.exists()]
        places = {path: _place(path, checkout, outside) for path in (*stack_files, *named, *pinned)}
        return cls(
            files={place: path.read_text() for path, place in places.items() if place},
            further=[places[path] for path in further],
            variables={name: text for name, text in variables.items() if not is_secret(name, text)},
            withheld=[
                *sorted(name for name, text in variables.items() if is_secret(name, text)),
                *(str(path) for path, place in places.items() if not place),
            ],
        )

    @property
    def text(self) -> str:
        """The content of the Docker config."""
        return json.dumps(asdict(self), indent=1, sort_keys=True)

    @property
    def name(self) -> str:
        """The name of the Docker config: configs are immutable, so each content has its own."""
        return f"{_BEGINNING}{sha256(self.text.encode()).hexdigest()[:_DIGITS]}"

    @property
    def credential(self) -> str:
        """The path of a file that contains a credential, or nothing."""
        return next((name for name, text in self.files.items() if masked(text) != text), "")

    @contextmanager
    def restored(self) -> Iterator[tuple[Path, list[Path]]]:
        """Yield a folder with the files, and the further stack files; meanwhile, the variables are exported.

        Those that are exported already stay as they are.
        """
        missing = {name: text for name, text in self.variables.items() if name not in os.environ}
        with TemporaryDirectory(prefix="secret-manager-") as name:
            folder = Path(name).resolve()
            for place, text in self.files.items():
                (folder / place).parent.mkdir(parents=True, exist_ok=True)
                (folder / place).write_text(text)
            os.environ.update(missing)
            try:
                yield folder, [folder / place for place in self.further]
            finally:
                for one in missing:
                    del os.environ[one]


def exported(names: Sequence[str], image: str) -> dict[str, str]:
    """Return those of the variables *names* that are exported, and the *image*."""
    found = {name: os.environ[name] for name in names if os.environ.get(name) and name not in _OF_SERVICE}
    return {**found, "IMAGE": image}


def _place(path: Path, checkout: Path, outside: Mapping[Path, str]) -> str:
    """Return the path in a checkout, or nothing for a file that has none there."""
    if path.is_relative_to(checkout):
        return str(path.relative_to(checkout))
    return outside.get(path, "")


def _read(config: Found) -> Record:
    """Return the record in a Docker config.

    Raises:
        DeploymentError: It is another version's, or not one.
    """
    try:
        record = Record(**json.loads(b64decode(config["Data"])))
        paths = [Path(place) for place in (*record.files, *record.further)]
    except (ValueError, TypeError):
        paths = [Path("..")]
    if any(path.is_absolute() or ".." in path.parts for path in paths):
        raise DeploymentError(
            f"the Docker config {config['Name']} is no record of a deployment by this version",
            hint="remove it (docker config rm), and deploy from a checkout",
        )
    return record


class Records:
    """The records of deployments on a swarm; there is one, except during a deployment."""

    def __init__(self, stack: Manager) -> None:
        self._stack = stack

    def newest(self) -> Record | None:
        """Return the record of the last deployment, if there is one.

        Raises:
            DeploymentError: It cannot be used.
        """
        found = self._found()
        return _read(found[-1]["Spec"]) if found else None

    def required(self) -> Record:
        """Return the record of the last deployment, and say which of its variables and files it lacks.

        Raises:
            DeploymentError: There is none.
        """
        found = self.newest()
        if not found:
            raise DeploymentError("no deployment is on record", hint="deploy from a checkout")
        missing = [name for name in found.withheld if name not in os.environ]
        if missing:
            self._stack.progress.say(f"warning: the last deployment also had {', '.join(missing)}.")
        return found

    def keep(self, record: Record) -> None:
        """Keep a record, or say why that is not possible."""
        say = self._stack.progress.say
        if record.credential:
            say(f"The deployment is not recorded, because {record.credential} contains a credential.")
            return
        try:
            self._stack.create_config(record.name, {_LABEL: "true"}, record.text.encode())
        except EngineError as error:
            say(f"The deployment is not recorded: {error}")

    def remove_others(self, record: Record) -> None:
        """Remove the records of earlier deployments."""
        others = [one["ID"] for one in self._found() if one["Spec"]["Name"] != record.name]
        self._stack.ask(lambda client: [client.remove_config(one) for one in others])

    def _found(self) -> list[Found]:
        """Return the Docker configs with records, the newest last."""
        found = self._stack.answer(lambda client: client.configs({"name": _BEGINNING}))
        own = [one for one in found if _LABEL in (one["Spec"].get("Labels") or {})]
        return sorted(own, key=lambda one: str(one["CreatedAt"]))

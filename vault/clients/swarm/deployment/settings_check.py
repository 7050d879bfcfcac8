"""The check of the settings before a deployment, by `config check` in the service's image."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from vault.clients.swarm.deployment.program import DeploymentError, Program, ProgramError
from vault.common.config.mistakes import near_misses

Settings = Mapping[str, str | None]

#: The settings that no stack file of the checkout passes on.
_DECIDED = ("BIND", "TLS_CERT", "TLS_KEY", "TLS_CLIENT_CA")
#: The variables of `swarm deploy` itself.
_OWN = ("DOCKER_BUILD_OPTIONS", "IMAGE", "IMAGES_FILE", "KEYRING_CONFIG", "MASTER_KEY_SECRET", "REPLICAS")
_VARIABLE = re.compile(r"\$\{([A-Z][A-Z0-9_]*)")

#: What a variable that is almost a setting has in the check, as its own value may be a secret.
_HIDDEN = "set"

#: The exit code of an image of an earlier version, which has no such command.
_UNKNOWN = 2


def variables(files: Iterable[Path], settings: Iterable[str]) -> list[str]:
    """Return the names of the variables that stack *files* read, also those of the service's *settings*."""
    named = {name for file in files for name in _VARIABLE.findall(file.read_text())}
    return sorted({*named, *settings})


def check(
    program: Program, image: str, settings: Settings, names: Sequence[str], say: Callable[[str], object]
) -> None:
    """Check the *settings* of a deployment that reads the variables *names*, and say what is doubtful.

    The files that settings name are in Docker secrets and configs, which the check does not have.

    Raises:
        DeploymentError: A setting is wrong; which one was said.
    """
    exported = {name for name, value in os.environ.items() if value}
    near = dict(near_misses(exported, [*names, *_OWN], exported))
    for name in [name for name, meant in near.items() if meant not in settings]:
        say(f"warning: {name} has no effect; did you mean {near.pop(name)}?")
    for name in sorted(exported.intersection(_DECIDED).difference(settings)):
        say(f"warning: {name} has no effect: no stack file passes it to the service")
    # The service's own check knows which of the others it refuses.
    given = {name: value for name, value in settings.items() if value} | dict.fromkeys(near, _HIDDEN)
    found = _found(program, image, given)
    for one in found:
        if one["result"] != "ok":
            about = f"{one['setting']}: " if one["setting"] else ""
            say(f"{one['result']}: {about}{one['text']}")
    if any(one["result"] == "wrong" for one in found):
        raise DeploymentError("the settings are wrong", hint="correct them; nothing was changed")


def _found(program: Program, image: str, settings: Mapping[str, str]) -> list[dict[str, str]]:
    """Return what `config check` finds in a container that has *settings*."""
    # Docker takes the values from its own environment: all users see arguments.
    passed = [option for name in settings for option in ("--env", name)]
    isolation = ("--rm", "--network=none", "--read-only", "--cap-drop=ALL")
    command = (image, "config", "check", "--no-files", "--json")
    try:
        printed = program.output("run", *isolation, *passed, *command, environment=settings)
    except ProgramError as error:
        if error.status == _UNKNOWN:
            return [{"result": "warning", "setting": "", "text": "this image cannot check its settings"}]
        if not error.printed:
            raise
        printed = error.printed
    return [json.loads(line) for line in printed.splitlines()]

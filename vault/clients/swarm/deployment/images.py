"""Third-party images of the deployment, pinned by digest."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from vault.clients.swarm.deployment.program import DeploymentError, Program, ProgramError

FILE = "images.env"

_DIGEST = re.compile("sha256:[0-9a-f]{64}")
_ARGUMENT = re.compile(r"^ARG (PYTHON_IMAGE)=(.*)$", re.MULTILINE)
_IMAGE = re.compile(r"image: \$\{([A-Z_]*_IMAGE):-(.*)\}$", re.MULTILINE)
_LINE = re.compile(r"([A-Z]+_IMAGE)=(.*)")


def pin(checkout: Path, file: Path, program: Program) -> str:
    """Write the current digest of every image that the deployment runs or builds from, and return the text.

    Raises:
        DeploymentError: The registry does not have one; the file is unchanged.
    """
    named = dict(_ARGUMENT.findall((checkout / "Dockerfile").read_text()))
    for name in ("stack.yml", "deploy/stack.proxy.yml", "deploy/stack.monitoring.yml"):
        named |= dict(_IMAGE.findall((checkout / name).read_text()))
    text = "".join(
        f"{name}={image}@{_digest(image, file, program)}\n" for name, image in named.items() if image
    )
    new = file.with_name(f"{file.name}.new")
    new.write_text(text)
    new.replace(file)
    return text


def _digest(image: str, file: Path, program: Program) -> str:
    # The digest of the index, which lists the images of all platforms.
    arguments = ("buildx", "imagetools", "inspect", image, "--format", "{{.Manifest.Digest}}")
    try:
        digest = program.output(*arguments).strip()
    except ProgramError:
        digest = ""
    if not _DIGEST.fullmatch(digest):
        raise DeploymentError(f"the registry returned no digest for {image}; {file} is unchanged")
    return digest


def pinned(file: Path) -> Mapping[str, str] | None:
    """Return the images of *file* that no variable overrides; None if there is no file.

    Raises:
        DeploymentError: Something else wrote it.
    """
    if not file.exists():
        return None
    found = [_LINE.fullmatch(line) for line in file.read_text().splitlines()]
    if not all(found):
        raise DeploymentError(
            f"{file} was not written by scripts/pin_images.sh", hint="delete it, or run that script"
        )
    return {line[1]: os.environ.get(line[1]) or line[2] for line in found if line}

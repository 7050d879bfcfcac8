"""A provider of the scheme `command` for tests."""

import json
from pathlib import Path

_SCRIPT = """#!/bin/sh
echo "$1" >> {path}.log
code=$(cat {path}.code 2>&-) && exit $code
exec tr '\\000-\\377' '\\200-\\377\\000-\\177'
"""


def make_program(path: Path) -> str:
    """Write a program at *path* that wraps and unwraps as `turned` does, and return its path.

    It notes its requests in PATH.log, and exits with the code in PATH.code.
    """
    path.write_text(_SCRIPT.format(path=path))
    path.chmod(0o755)
    return str(path)


def turned(content: bytes) -> bytes:
    """Return *content* wrapped or unwrapped: what is stored must not be what a search would find."""
    return bytes((byte + 128) % 256 for byte in content)


def without_macs(text: str) -> str:
    """Return the keyring file *text* as 1.1.0 would have written it."""
    document = json.loads(text)
    for key in document["keys"]:
        key.pop("mac", None)
    return json.dumps(document | {"format": 1})


def set_code(path: Path, code: int | None) -> None:
    """Make the program at *path* exit with *code* from now on, or work again with None."""
    file = path.with_name(f"{path.name}.code")
    if code is None:
        file.unlink(missing_ok=True)
        return
    # In one step: a program that runs meanwhile has the earlier code or this one.
    written = path.with_name(f"{path.name}.written")
    written.write_text(str(code))
    written.replace(file)

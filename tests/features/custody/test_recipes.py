"""The recipes for programs in docs/custody.md, with the real age, clevis and tang."""

import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest

from tests.docs.documents import blocks
from tests.support.system import missing, needs
from vault.features.custody.child import Command
from vault.features.custody.errors import CustodyRefusedError
from vault.features.custody.provider import context_of

pytestmark = pytest.mark.process

KEY, CONTEXT = bytes(range(32)), context_of("1" * 16)
TANGD = Path("/usr/libexec/tangd")


def program(folder: Path, script: str) -> Command:
    """Return the provider of an executable with this script."""
    path = folder / "program"
    path.write_text(script)
    path.chmod(0o755)
    return Command(str(path))


def test_the_recipe_for_age_works(tmp_path: Path) -> None:
    """The script wraps for a recipient, and unwraps with the identity; without it, the slot is refused."""
    needs("age")
    [script] = [block.text for block in blocks("docs/custody.md", "sh") if "age --encrypt" in block.text]
    identity, recipients = tmp_path / "age.identity", tmp_path / "age.recipients"
    subprocess.run(["age-keygen", "-o", identity], check=True, capture_output=True)
    recipients.write_text(re.findall("public key: (.*)", identity.read_text())[0])
    for place in ("/etc/secret-manager/", "/media/operator/"):
        script = script.replace(place, f"{tmp_path}/")
    age = program(tmp_path, script)
    blob = age.wrap(KEY, CONTEXT)
    assert age.unwrap(blob, CONTEXT).material == KEY
    identity.unlink()
    with pytest.raises(CustodyRefusedError):
        age.unwrap(blob, CONTEXT)


@pytest.fixture
def tang(tmp_path: Path) -> Iterator[str]:
    """Run tang, which serves one connection on its standard streams, and return its address."""
    needs("clevis")
    if not TANGD.exists():
        raise missing("needs tang (Debian package: tang)")
    keys = tmp_path / "tang"
    keys.mkdir()
    subprocess.run(["/usr/libexec/tangd-keygen", keys], check=True)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection = listener.accept()[0]
                    with connection:
                        streams = {"stdin": connection, "stdout": connection, "stderr": subprocess.DEVNULL}
                        subprocess.run([TANGD, keys], check=False, **streams)

        thread = Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(30)


def test_the_recipe_for_clevis_and_tang_works(tang: str, tmp_path: Path) -> None:
    """A key is bound to the network of a tang server."""
    script = f"""#!/bin/sh
case $1 in
    wrap) exec clevis encrypt tang '{{"url": "{tang}"}}' -y ;;
    unwrap) exec clevis decrypt ;;
esac
"""
    clevis = program(tmp_path, script)
    blob = clevis.wrap(KEY, CONTEXT)
    assert KEY not in blob
    assert clevis.unwrap(blob, CONTEXT).material == KEY

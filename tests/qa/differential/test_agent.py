"""`bao agent`: it supervises programs, and gives up, the same with this service as with OpenBao."""

import os
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from tests.qa.differential.comparison import Observer, compare
from tests.support.openbao import BAO, Server, Servers

pytestmark = pytest.mark.process

_SETTINGS = """
vault {{
  address = "{url}"
  retry {{ num_retries = -1 }}
}}
auto_auth {{
  method "token_file" {{
    config = {{ token_file_path = "{folder}/token" }}
  }}
}}
template_config {{
  static_secret_render_interval = "1s"
  exit_on_retry_failure = true
}}
"""

_SUPERVISOR = """
env_template "PASSWORD" {{
  contents = "{{{{ with secret \\"secret/data/agent/db\\" }}}}{{{{ .Data.data.password }}}}{{{{ end }}}}"
  error_on_missing_key = true
}}
env_template "VERSION" {{
  contents = "{{{{ with secret \\"secret/data/agent/db\\" }}}}{{{{ .Data.metadata.version }}}}{{{{ end }}}}"
}}
exec {{
  command = ["{folder}/program"]
  restart_on_secret_changes = "always"
  restart_stop_signal = "SIGTERM"
}}
"""

#: It says what it got, and ends by itself with the last password.
_PROGRAM = """#!/bin/sh
echo "$PASSWORD $VERSION" >> said
[ "$PASSWORD" = last ] && exit 7
exec sleep 60
"""

_FILES = """
exit_after_auth = true
template {{
  source = "{folder}/app.tpl"
  destination = "{folder}/app.conf"
  perms = "0600"
  error_on_missing_key = true
}}
"""


def test_the_agent_supervises_a_program(servers: Servers) -> None:
    """A program gets secrets as variables, restarts after a change, and its exit code is the agent's."""

    def program(server: Server, see: Observer) -> None:
        with tempfile.TemporaryDirectory() as text:
            folder = Path(text)
            (folder / "program").write_text(_PROGRAM)
            (folder / "program").chmod(0o700)
            write(server, "agent/db", password="first")
            agent = _start(server, folder, _SUPERVISOR)
            try:
                _wait_for(folder / "said", "first 1\n", agent)
                write(server, "agent/db", password="second")
                _wait_for(folder / "said", "first 1\nsecond 2\n", agent)
                write(server, "agent/db", password="last")
            finally:
                see("exit", _exit_code(agent))
            see("said", (folder / "said").read_text())

    compare(servers, "agent: supervisor", program)


@pytest.mark.parametrize("state", ["missing", "outside"])
def test_the_agent_gives_up(servers: Servers, state: str) -> None:
    """Without its secret, the agent ends with an error and renders nothing."""

    def program(server: Server, see: Observer) -> None:
        with tempfile.TemporaryDirectory() as text:
            folder = Path(text)
            (folder / "app.tpl").write_text(
                f'{{{{ with secret "secret/data/agent/{state}" }}}}x{{{{ end }}}}'
            )
            if state == "outside":
                write(server, f"agent/{state}", a=1)
            agent = _start(server, folder, _FILES, caller="agent" if state == "outside" else "admin")
            see("exit", _exit_code(agent))
            see("rendered", (folder / "app.conf").exists())

    compare(servers, f"agent: {state}", program)


def write(server: Server, name: str, **value: object) -> None:
    """Write a version of a secret."""
    reply = server.ask("POST", f"secret/data/{name}", {"data": value})
    assert reply.status == 200, reply


def _start(server: Server, folder: Path, settings: str, *, caller: str = "admin") -> subprocess.Popen[bytes]:
    (folder / "token").write_text(server.tokens[caller])
    (folder / "agent.hcl").write_text((_SETTINGS + settings).format(url=server.url, folder=folder))
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [BAO, "agent", f"-config={folder / 'agent.hcl'}"],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "HOME": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def _exit_code(agent: subprocess.Popen[bytes]) -> int:
    """Return the exit code of *agent*; after two minutes, end it."""
    try:
        return agent.wait(120)
    finally:
        agent.kill()
        agent.wait()


def _wait_for(file: Path, text: str, agent: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not (file.exists() and file.read_text() == text):
        log = (file.parent / "log").read_text()
        assert agent.poll() is None, log
        assert time.monotonic() < deadline, log
        time.sleep(0.05)

"""GitHub's side of a job: the endpoint of its JWTs, and a runner of actions."""

import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import yaml

from tests.support.issuer import sign
from tests.support.system import needs, unmeasured

REQUEST_TOKEN = "the-runner-s-own"

_COMMAND = re.compile(r"::([a-z-]+)::(.*)")
_MASK = "***"


@contextmanager
def token_endpoint(iss: str, claims: dict[str, Any]) -> Iterator[str]:
    """Serve JWTs of *iss* with *claims* like GitHub does for a job; yield the URL."""

    class Tokens(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.headers["Authorization"] == f"Bearer {REQUEST_TOKEN}"
            [audience] = parse_qs(urlsplit(self.path).query)["audience"]
            credential = sign(iss=iss, aud=audience, **claims)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"count": 1, "value": credential}).encode())

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Tokens) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/token?api-version=2.0"
        server.shutdown()


class Run(NamedTuple):
    """The result of one step of an action."""

    succeeded: bool
    #: The masked log, and what the step printed other than masks.
    log: str
    printed: str
    errors: list[str]
    masks: list[str]


class Runner:
    """Runs the action in the folder *action* for one job, with the files of a runner."""

    def __init__(self, action: Path, folder: Path, *, token_url: str = "", inputs: dict[str, str]) -> None:
        self.definition = self.definition_of(action)
        self.temporary = folder / "temporary files"
        self._action = action
        self._files = {name: folder / name for name in ("GITHUB_ENV", "GITHUB_STATE")}
        self.temporary.mkdir()
        for file in self._files.values():
            file.touch()
        defaults = {name: one.get("default", "") for name, one in self.definition["inputs"].items()}
        assert inputs.keys() <= defaults.keys()
        given = {f"INPUT_{name.upper()}": text for name, text in (defaults | inputs).items()}
        identity = {
            "ACTIONS_ID_TOKEN_REQUEST_URL": token_url,
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": REQUEST_TOKEN,
        }
        self._environment = {
            **unmeasured(),
            **given,
            **(identity if token_url else {}),
            **{name: str(file) for name, file in self._files.items()},
            "RUNNER_TEMP": str(self.temporary),
        }

    @staticmethod
    def definition_of(action: Path) -> dict[str, Any]:
        """Return the content of action.yml."""
        found: dict[str, Any] = yaml.safe_load((action / "action.yml").read_text())
        return found

    @property
    def variables(self) -> dict[str, str]:
        """The variables of later steps."""
        return _assignments(self._files["GITHUB_ENV"])

    def step(self) -> Run:
        """Run the action's step."""
        return self._run("main")

    def end(self) -> Run:
        """Run what the action does after the job."""
        return self._run("post")

    def _run(self, part: str) -> Run:
        runs = self.definition["runs"]
        assert re.fullmatch(r"node\d+", runs["using"])
        state = {f"STATE_{name}": text for name, text in _assignments(self._files["GITHUB_STATE"]).items()}
        read, write = os.pipe()
        # It takes a part of a long line.
        os.set_blocking(write, False)
        with (
            os.fdopen(read, "rb") as stream,
            subprocess.Popen(
                [needs("node", package="nodejs"), str(self._action / runs[part])],
                env={**self._environment, **state},
                stdout=write,
                stderr=write,
            ) as process,
        ):
            os.close(write)
            output = stream.read().decode()
        masks: list[str] = []
        log, printed, errors = [], [], []
        # The runner reads lines, and a line also ends with a carriage return.
        for line in re.split(r"\r\n|\r|\n", output):
            found = _COMMAND.match(line)
            if found and found[1] == "add-mask":
                masks += [_unescaped(found[2])]
                continue
            text = _unescaped(found[2]) if found else line
            if found:
                assert found[1] == "error", line
                errors.append(text)
            printed.append(text)
            for mask in masks:
                text = text.replace(mask, _MASK)
            log.append(text)
        return Run(process.returncode == 0, "\n".join(log), "\n".join(printed), errors, masks)


def _unescaped(data: str) -> str:
    return data.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%")


def _assignments(file: Path) -> dict[str, str]:
    """Return the variables in *file*, as the runner reads them."""
    found = {}
    lines = iter(file.read_bytes().decode().split("\n"))
    for line in lines:
        if not line:
            continue
        name, is_block, delimiter = line.partition("<<")
        assert is_block, line
        value = []
        while (part := next(lines)) != delimiter:
            value.append(part)
        found[name] = "\n".join(value)
    return found

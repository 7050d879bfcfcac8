"""Fuzz the API with valid and invalid requests: `python loadtest/fuzz.py [CASES] [SEED]`.

Starts a MongoDB and the service with authentication. Runs schemathesis, which generates about CASES requests
from the OpenAPI document and follows its links. Exits with 1 if a response is 5xx, violates the document
or refuses what it allows. Then does the same with Vault's dialect, whose operations take more than the
document can describe: there, only responses are checked.
"""

import os
import secrets
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

from vault.cli.dev.mongod import Mongod, free_port

_HERE = Path(__file__).parent
#: The paths of Vault's dialect, and the checks that its responses must pass.
_DIALECT = "^/v1/"
_CHECKS_OF_DIALECT = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,refusals_tell_no_secret"
)
#: Requests that schemathesis sends in total per example of an operation; measured with 20,000 requests.
_CASES_OF_ONE = 16
_TOKEN = ("tokens", "create", "--name", "fuzz", "--role", "admin", "--expires-in", "1d", "--renewable")


def main(cases: int = 20_000, seed: int = 1) -> int:
    """Fuzz the service and return the exit status."""
    with tempfile.TemporaryDirectory() as folder, Mongod(Path(folder) / "db") as mongod:
        port = free_port()
        environment = {
            **os.environ,
            "MASTER_KEY": b64encode(secrets.token_bytes(32)).decode(),
            "MONGO_URI": mongod.uri,
            "BIND": f"127.0.0.1:{port}",
            "AUTH_ENABLED": "true",
            "DELETE_RECOVERY_DAYS": "1",
            # The run sends thousands of invalid credentials.
            "FAILED_AUTH_LIMIT": "1000000/second",
            "LOG_LEVEL": "warning",
        }
        vault = [sys.executable, "-m", "vault.cli"]
        token = subprocess.run(
            [*vault, *_TOKEN],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout.strip()
        with subprocess.Popen([*vault, "serve"], env=environment) as service:
            try:
                url = f"http://127.0.0.1:{port}"
                _wait_for(f"{url}/health/ready")
                return _fuzz(url, token, cases, seed, folder)
            finally:
                service.terminate()


def _wait_for(url: str) -> None:
    for _ in range(1_200):
        try:
            urlopen(url).close()  # noqa: S310 - our own URL
        except URLError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("the service did not become ready")


def _fuzz(url: str, token: str, cases: int, seed: int, folder: str) -> int:
    """Fuzz both APIs; return the exit status of the first one that fails."""
    runs = (
        ("--exclude-path-regex", _DIALECT, "--checks", "all"),
        # Its operations have no links to follow.
        (
            *("--include-path-regex", _DIALECT, "--checks", _CHECKS_OF_DIALECT),
            *("--phases", "examples,coverage,fuzzing"),
        ),
    )
    return max(_run(url, token, cases, seed, folder, options) for options in runs)


def _run(url: str, token: str, cases: int, seed: int, folder: str, options: Sequence[str]) -> int:
    command = [
        str(Path(sys.executable).parent / "schemathesis"),
        *("run", f"{url}/openapi.json", *options),
        *("--max-examples", str(max(1, cases // _CASES_OF_ONE)), "--seed", str(seed)),
        *(
            "--continue-on-failure",
            "--generation-database",
            "none",
            "--request-timeout",
            "60",
            "--workers",
            "4",
            "--max-response-time",
            "60",
        ),
    ]
    environment = {
        **os.environ,
        "FUZZ_TOKEN": token,
        "FUZZ_URL": url,
        "SCHEMATHESIS_HOOKS": "fuzz_checks",
        "PYTHONPATH": str(_HERE),
    }
    status = subprocess.run(command, env=environment, cwd=folder, check=False).returncode
    # Raises an error if a generated request has revoked the token: then later replies say nothing.
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    urlopen(Request(f"{url}/vault/token/list", b"{}", headers)).close()  # noqa: S310 - our own URL
    return status


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))

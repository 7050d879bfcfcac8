"""Fuzz the API with valid and invalid requests: `python -m tests.qa.fuzz [CASES] [SEED] [PHASES]`.

Starts a MongoDB and the service with authentication. Runs the PHASES of schemathesis, by default all: it
generates about CASES requests from the OpenAPI document and follows its links. Exits with 1 if a response is
5xx, violates the document or refuses what it allows. Then does the same with Vault's dialect, whose
operations have no links, and take more than the document can describe: there, only responses are checked.
"""

import os
import secrets
import subprocess
import sys
import tempfile
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from urllib.request import Request, urlopen

from tests.support.service import Service
from vault.clients.dev.mongod import Mongod

#: The paths of Vault's dialect, and the checks that its responses must pass.
_DIALECT = "^/v1/"
_CHECKS_OF_DIALECT = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,refusals_tell_no_secret"
)
#: The options of each run, and the end of the phases that it omits.
_RUNS = (
    (("--exclude-path-regex", _DIALECT, "--checks", "all"), ""),
    (("--include-path-regex", _DIALECT, "--checks", _CHECKS_OF_DIALECT), ",stateful"),
)
_PHASES = "examples,coverage,fuzzing,stateful"
#: Requests that schemathesis sends in total per example of an operation; measured with 20,000 requests.
_CASES_OF_ONE = 16
_TOKEN = ("tokens", "create", "--name", "fuzz", "--role", "admin", "--expires-in", "1d", "--renewable")


def main(cases: int = 20_000, seed: int = 1, phases: str = _PHASES) -> int:
    """Fuzz the service and return the exit status."""
    with tempfile.TemporaryDirectory() as folder, Mongod(Path(folder) / "db") as mongod:
        settings = {
            "MASTER_KEY": b64encode(secrets.token_bytes(32)).decode(),
            "MONGO_URI": mongod.uri,
            "AUTH_ENABLED": "true",
            "DELETE_RECOVERY_DAYS": "1",
            # The run sends thousands of invalid credentials.
            "FAILED_AUTH_LIMIT": "1000000/second",
            "LOG_LEVEL": "warning",
        }
        token = subprocess.run(
            [sys.executable, "-m", "vault.cli", *_TOKEN],
            env=os.environ | settings,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout.strip()
        with Service(settings, patient=True, folder=Path(folder)) as service:
            service.wait_until("/health/ready")
            return max(
                _fuzz(
                    service.url, token, cases, seed, folder, [*options, "--phases", phases.removesuffix(off)]
                )
                for options, off in _RUNS
            )


def _fuzz(url: str, token: str, cases: int, seed: int, folder: str, options: Sequence[str]) -> int:
    command = [
        str(Path(sys.executable).parent / "schemathesis"),
        *("run", f"{url}/openapi.json", *options),
        *("--max-examples", str(max(1, cases // _CASES_OF_ONE)), "--seed", str(seed)),
        *("--continue-on-failure", "--generation-database", "none", "--workers", "4"),
        *("--request-timeout", "60", "--max-response-time", "60"),
    ]
    environment = {
        **os.environ,
        "FUZZ_TOKEN": token,
        "FUZZ_URL": url,
        "SCHEMATHESIS_HOOKS": "fuzz_checks",
        "PYTHONPATH": str(Path(__file__).parent),
    }
    status = subprocess.run(command, env=environment, cwd=folder, check=False).returncode
    # Raises an error if a generated request has revoked the token: then later replies say nothing.
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    urlopen(Request(f"{url}/vault/token/list", b"{}", headers)).close()  # noqa: S310 - our own URL
    return status


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:3]), *sys.argv[3:]))

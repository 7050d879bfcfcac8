"""Write what 1.1.0 stored, for the tests of an upgrade: a backup, a checkpoint, a keyring file and tokens.

Run it with the checkout of 1.1.0 first on the path, where `vault` is that version:

    git archive cb7c143d | tar x -C RELEASE
    PYTHONPATH=RELEASE python -P tests/vectors/make_3.py tests/vectors
"""

import json
import os
import subprocess
import sys
import tempfile
from base64 import b64encode
from datetime import timedelta
from pathlib import Path
from typing import Any

from vault.core.secrets import wrapping

# Before the API is loaded: what would end after 30 days is to stay for the tests.
wrapping.MAX_LIFETIME = timedelta(days=30 * 365)

from vault.app import create_app  # noqa: E402 - see above
from vault.clients.dev.mongod import Mongod  # noqa: E402
from vault.common.config.settings import Settings  # noqa: E402

_YEARS = 30 * 365 * 86_400
_KEY = b64encode(bytes(range(32))).decode()
_PROGRAM = """#!/bin/sh
exec tr '\\000-\\377' '\\200-\\377\\000-\\177'
"""
#: Stands for the path of the program in the keyring file.
_PLACE = "/srv/custody-program"


class Maker:
    """The calls that fill a database."""

    def __init__(self, folder: Path, uri: str) -> None:
        self.folder = folder
        self.environment = {
            "MASTER_KEY": _KEY,
            "MONGO_URI": uri,
            "AUTH_ENABLED": "true",
            "DELETE_RECOVERY_DAYS": "7",
            "ROTATION_COMMANDS": "/bin/true",
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.environ["PYTHONPATH"],
        }

    def command(self, *arguments: object, **environment: str) -> str:
        """Return the output of a command."""
        done = subprocess.run(
            [sys.executable, "-P", "-m", "vault.cli", *map(str, arguments)],
            cwd=self.folder,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def token(self, name: str, *options: str) -> str:
        """Create a token and return it."""
        return self.command("tokens", "create", "--name", name, *options)


def main(target: Path) -> None:
    """Write the files to *target*."""
    with tempfile.TemporaryDirectory() as name, Mongod(Path(name) / "mongod") as mongod:
        maker = Maker(Path(name), mongod.uri.replace("/?", "/vault?"))
        known = {"custody": _custody(maker)}
        app = create_app(Settings.from_mapping(maker.environment))
        try:
            app.extensions["secret-manager"].startup.attempt()
            known |= _fill(app, maker)
        finally:
            app.extensions["secret-manager-close"]()
        known["checkpoint"] = json.loads(maker.command("audit", "checkpoint"))
        backup = target.absolute() / "backup-3.tar"
        backup.unlink(missing_ok=True)
        maker.command("backup", backup)
        keyring = (maker.folder / "keyring.json").read_text().replace(str(maker.folder / "program"), _PLACE)
        known["keyring"] = json.loads(keyring)
    (target / "backup-3.json").write_text(json.dumps(known, indent=1) + "\n")


def _custody(maker: Maker) -> list[str]:
    """Wrap the master key for a program and for people; return the shares of these."""
    program = maker.folder / "program"
    program.write_text(_PROGRAM)
    program.chmod(0o755)
    custody = ("keys", "custody")
    maker.command(*custody, "init", "keyring.json", "--from-settings", "--slot", f"prog=command,{program}")
    opened = {"MASTER_KEYRING_FILE": "keyring.json", "MASTER_KEY": ""}
    maker.command(
        *(*custody, "recovery", "create", "--threshold", "2", "--shares", "3", "--out-dir", "shares"),
        **opened,
    )
    return [path.read_text().strip() for path in sorted((maker.folder / "shares").iterdir())]


def _fill(app: Any, maker: Maker) -> dict[str, Any]:
    """Store one of everything that 1.1.0 can store; return the tokens."""
    client = app.test_client()
    tokens = {
        "admin": maker.token("admin", "--role", "admin"),
        "reader": maker.token("reader", "--role", "reader", "--path", "billing/"),
        "auditor": maker.token("auditor", "--role", "auditor"),
        "team": maker.token("team", "--role", "admin", "--namespace", "team-a"),
        "team-auditor": maker.token("auditor", "--scope", "audit:read", "--namespace", "team-a"),
        "gone": maker.token("gone", "--role", "admin"),
        "away": maker.token("away", "--role", "admin"),
    }

    def call(path: str, body: Any, by: str = "admin", **headers: str) -> Any:
        given = {"Authorization": f"Bearer {tokens[by]}", **headers}
        reply = client.open(path, method="POST" if body is not None else "GET", json=body, headers=given)
        assert reply.status_code in (200, 204), (path, reply.status_code, reply.text)
        return reply.get_json(silent=True)

    def secret(action: str, name: str, by: str = "admin", **body: Any) -> Any:
        return call(f"/vault/secret/{action}", {"name": name, **body}, by)

    def encoded(value: str) -> str:
        return b64encode(value.encode()).decode()

    secret("create", "billing/db", secret=encoded("first"), labels={"team": "a"})
    secret("update", "billing/db", secret=encoded("second"))
    secret("create", "billing/limited", secret=encoded("twice"), max_reads=2)
    secret("create", "billing/deleted", secret=encoded("deleted"))
    secret("delete", "billing/deleted")
    secret("create", "billing/canary", secret=encoded("canary"), canary=True)
    secret("create", "billing/db", by="team", secret=encoded("of the team"))
    secret("fetch", "billing/db", by="team")
    secret("fetch", "billing/db", by="reader")
    call("/v1/secret/data/kv/app", {"data": {"n": 1}})
    call("/v1/secret/data/kv/app", {"data": {"n": 2}, "options": {"cas": 1}})
    links = {
        "share": secret("share", "billing/db", ttl_seconds=_YEARS)["token"],
        "share with passphrase": call(
            "/vault/secret/share", {"secret": encoded("shared"), "passphrase": "open", "ttl_seconds": _YEARS}
        )["token"],
        "share of away": secret("share", "billing/db", by="away", ttl_seconds=_YEARS)["token"],
        "request": secret("request", "billing/asked", ttl_seconds=_YEARS)["token"],
        "wrapped": call("/v1/secret/data/kv/app", None, **{"X-Vault-Wrap-TTL": str(_YEARS)})["wrap_info"][
            "token"
        ],
    }
    wrapped = call("/v1/secret/data/kv/app", None, **{"X-Vault-Wrap-TTL": str(_YEARS)})
    links["wrapped"] = wrapped["wrap_info"]["token"]
    orphan = call("/v1/auth/token/create-orphan", {"policies": ["reader"], "period": "86400h"})
    tokens["orphan"] = orphan["auth"]["client_token"]
    _settings(call)
    call("/vault/token/revoke", {"name": "gone"})
    call("/vault/token/revoke", {"name": "away"})
    return {"tokens": tokens, "links": links}


def _settings(call: Any) -> None:
    """Create an issuer, a role, a webhook, and a rotation plan, which runs once."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    public = rsa.generate_private_key(65_537, 2_048).public_key()
    form = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    call(
        "/vault/issuer/create",
        {
            "name": "ci",
            "issuer": "https://ci.example",
            "audience": "vault",
            "public_key": public.public_bytes(*form).decode(),
        },
    )
    call(
        "/vault/role/create",
        {"name": "deploy", "issuer": "ci", "claims": {"sub": "build"}, "scopes": ["secret:fetch"]},
    )
    call("/vault/webhook/create", {"url": "https://hooks.invalid/in", "events": ["secret.updated"]})
    login = json.dumps({"username": "a", "password": "first-password"})
    call("/vault/secret/create", {"name": "shop/db", "secret": b64encode(login.encode()).decode()})
    call("/vault/secret/create", {"name": "shop/admin", "secret": b64encode(b"/bin/true").decode()})
    plan = {"name": "shop/db", "kind": "command", "admin": "shop/admin", "users": ["a", "b"]}
    call("/vault/rotation/create", {**plan, "every_seconds": 86_400 * 365, "grace_seconds": 60})
    call("/vault/rotation/run", {"name": "shop/db"})


if __name__ == "__main__":
    main(Path(sys.argv[1]))

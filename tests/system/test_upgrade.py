"""Upgrade: what the build before 1.0.0 stored, under this version.

`vectors/backup-1.tar` is a backup that it made with `AUTH_ENABLED=true` and the master key below.
"""

from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import running_app, start
from tests.support.access import bearer
from tests.support.commands import run_command

pytestmark = pytest.mark.process

_BACKUP = Path(__file__).parents[1] / "vectors" / "backup-1.tar"
_KEY = b64encode(bytes(range(32))).decode()
#: The restored tokens.
_ADMIN = bearer("smt_OWS7jVY7MYIEyPJtuwKs4rhcJJZMHuVe42fe6j")
_READER = bearer("smt_DmcqMUhow4RnlCtAm6j7yq4kvYAB0bat1oh4L3")

_FETCH, _UPDATE = "/vault/secret/fetch", "/vault/secret/update"
_LIMITED, _NAMED = {"name": "billing/limited"}, {"name": "billing/db"}


def _encoded(value: bytes) -> dict[str, str]:
    return {"secret": b64encode(value).decode()}


def test_what_the_build_before_1_0_0_stored_stays_in_use(mongo_uri: str, tmp_path: Path) -> None:
    """Its backup is restored: values, versions, limits, tokens and a trail that this version continues."""
    environment = {"MASTER_KEY": _KEY, "MONGO_URI": mongo_uri, "AUTH_ENABLED": "true"}
    restored = run_command("restore", _BACKUP, environment=environment, folder=tmp_path)
    assert restored.stdout.startswith("4 secrets, 3 tokens and 12 audit entries restored")
    with running_app(environment) as app:
        start(app)

        def call(path: str, body: dict[str, Any], token: dict[str, Any] = _READER) -> tuple[int, Any]:
            reply = app.test_client().post(path, json=body, headers=token)
            return reply.status_code, reply.json

        assert call(_FETCH, _NAMED) == (200, _encoded(b"second"))
        assert call(_FETCH, {**_NAMED, "version": 1}) == (200, _encoded(b"first"))
        assert call("/vault/secret/describe", _NAMED)[1]["labels"] == {"team": "a"}
        assert [call(_FETCH, _LIMITED)[0] for _ in range(3)] == [200, 200, 404]
        assert call(_FETCH, {"name": "billing/deleted"})[0] == 404
        assert call(_UPDATE, _NAMED | _encoded(b"third"))[0] == 403
        assert call(_UPDATE, _NAMED | _encoded(b"third"), _ADMIN)[1]["version"] == 3
        assert call(_FETCH, _NAMED) == (200, _encoded(b"third"))
        states = {one["name"]: one["state"] for one in call("/vault/token/list", {}, _ADMIN)[1]["tokens"]}
        assert states == {"admin": "active", "reader": "active", "gone": "revoked"}
    verified = run_command("audit", "verify", environment=environment, folder=tmp_path)
    assert (verified.returncode, verified.stdout.endswith("intact\n")) == (0, True)

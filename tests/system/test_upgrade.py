"""Upgrade: what 1.1.0, 1.0.0 and the build before it stored, under this version.

`vectors/backup-1.tar` is a backup by that build, and `vectors/backup-2.tar` one by 1.0.0, after a rotation to
the master key below; `vectors/make_3.py` made `vectors/backup-3.tar` and `vectors/backup-3.json` with 1.1.0.
All with `AUTH_ENABLED=true`.
"""

import json
import os
import secrets
import subprocess
import sys
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import running_app, start
from tests.support.access import bearer
from tests.support.commands import run_command
from tests.support.custody import make_program
from tests.support.release import check_out
from tests.support.rotation import connected
from tests.support.service import SERVE, Service
from tests.support.streams import close_all
from vault.core.crypto import Keyring, MasterKey

pytestmark = pytest.mark.process

_VECTORS = Path(__file__).parents[1] / "vectors"
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
    restored = run_command("restore", _VECTORS / "backup-1.tar", environment=environment, folder=tmp_path)
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


#: The tokens in the backup by 1.0.0.
_OWNER = bearer("smt_3HLcipuVEqXb6hE2D94Ee2Vo9lxwIIsq2USWoi")
_BILLING = bearer("smt_Dw0k9FGiYPAX4NzNOsq08Hffow0Tb2kp3kRlmg")
_REVOKED = bearer("smt_zH2l9F8qaf60KzpXGs8u1uj50yXKfQ1T3BIh77")


def test_what_1_0_0_stored_stays_in_use(mongo_uri: str, tmp_path: Path) -> None:
    """Its backup is restored: secrets of both APIs, versions, rules, tokens, a role, and the trail."""
    environment = {"MASTER_KEY": _KEY, "MONGO_URI": mongo_uri, "AUTH_ENABLED": "true"}
    restored = run_command("restore", _VECTORS / "backup-2.tar", environment=environment, folder=tmp_path)
    assert restored.stdout.startswith("35 secrets, 6 tokens and 63 audit entries restored")
    with running_app(environment) as app:
        start(app)

        def call(path: str, body: Any = None, token: dict[str, str] = _OWNER) -> tuple[int, Any]:
            method = "GET" if body is None else "POST"
            reply = app.test_client().open(path, method=method, json=body, headers=token)
            return reply.status_code, reply.get_json(silent=True)

        def read(path: str) -> Any:
            status, body = call(f"/v1/secret/data/{path}")
            return body["data"]["data"] if status == 200 else status

        assert call(_FETCH, _NAMED) == (200, _encoded(b"second"))
        assert call(_FETCH, {**_NAMED, "version": 1}, _BILLING) == (200, _encoded(b"first"))
        assert call("/vault/secret/describe", _NAMED)[1]["labels"] == {"team": "a"}
        assert [call(_FETCH, _LIMITED)[0] for _ in range(3)] == [200, 200, 404]
        assert call(_FETCH, {"name": "billing/rotated"}) == (200, _encoded(b"rotated"))
        assert call(_FETCH, {"name": "billing/deleted"})[0] == 404
        assert call(_FETCH, {"name": "shop/db"}, _BILLING)[0] == 404
        assert call(_FETCH, _NAMED, _REVOKED)[0] == 401
        assert len(call("/vault/secret/fetch-batch", {"name_prefix": "batch/"})[1]["secrets"]) == 20
        paths = ("kv/app", "kv/app?version=3", "kv/app?version=2", "kv/app?version=1", "kv/valueless")
        assert [read(path) for path in paths] == [{"n": 4}, {"n": 3}, 404, 404, 404]
        assert call("/v1/secret/undelete/kv/app", {"versions": [2]})[0] == 204
        assert read("kv/app?version=2") == {"n": 2}
        assert call("/v1/secret/data/kv/ruled", {"data": {}})[0] == 400
        assert call("/v1/secret/metadata/kv/ruled")[1]["data"]["custom_metadata"] == {"owner": "x"}
        [role] = call("/vault/role/list", {})[1]["roles"]
        assert (role["name"], role["claims"], role["paths"]) == ("deploy", {"sub": "build"}, ["billing/"])
        exposures = call("/vault/audit/exposure", {"secret": _NAMED})[1]["exposures"]
        assert "ci/jwt:build" in {exposure["principal"] for exposure in exposures}
    checkpoint = _VECTORS / "checkpoint-2.json"
    verify = ("audit", "verify", "--checkpoint", checkpoint)
    verified = run_command(*verify, environment=environment, folder=tmp_path)
    assert (verified.returncode, verified.stdout.endswith("intact\n")) == (0, True)


#: The files of 1.1.0.
_BACKUP_3 = _VECTORS / "backup-3.tar"


def _known(what: str) -> Any:
    """Return a part of what is known of the database of 1.1.0, such as its tokens."""
    return json.loads((_VECTORS / "backup-3.json").read_text())[what]


def test_what_1_1_0_stored_stays_in_use(mongo_uri: str, tmp_path: Path) -> None:
    """Its backup is good, and restored: secrets, tokens, links, roles, webhooks, a plan, and the trail."""
    environment = {"MASTER_KEY": _KEY, "MONGO_URI": mongo_uri, "AUTH_ENABLED": "true"}
    drilled = run_command("drill", _BACKUP_3, environment=environment, folder=tmp_path)
    assert drilled.stdout.strip().endswith("the backup is good"), drilled.stderr
    restored = run_command("restore", _BACKUP_3, environment=environment, folder=tmp_path)
    assert restored.returncode == 0, restored.stderr
    tokens, links = _known("tokens"), _known("links")
    with running_app(environment) as app:
        start(app)

        def call(path: str, body: Any = None, by: str = "admin") -> tuple[int, Any]:
            method = "GET" if body is None else "POST"
            headers = bearer(tokens[by]) if by else {}
            reply = app.test_client().open(path, method=method, json=body, headers=headers)
            return reply.status_code, reply.get_json(silent=True)

        def value(status: int, body: Any) -> Any:
            return b64decode(body["secret"]).decode() if status == 200 else status

        def opened(link: str, **options: str) -> Any:
            return value(*call("/vault/share/open", {"token": links[link], **options}, by=""))

        # Secrets of both APIs, in two namespaces, with their limits and versions.
        assert value(*call(_FETCH, _NAMED)) == "second"
        assert value(*call(_FETCH, {**_NAMED, "version": 1}, "reader")) == "first"
        assert value(*call(_FETCH, _NAMED, "team")) == "of the team"
        assert value(*call(_FETCH, _NAMED, "orphan")) == "second"
        assert [value(*call(_FETCH, _LIMITED)) for _ in range(3)] == ["twice", "twice", 404]
        assert call("/vault/secret/restore", {"name": "billing/deleted"})[0] == 200
        assert value(*call(_FETCH, {"name": "billing/deleted"})) == "deleted"
        assert value(*call(_FETCH, {"name": "billing/canary"})) == "canary"
        assert call("/v1/secret/data/kv/app")[1]["data"]["data"] == {"n": 2}
        # What has an end: of shares by 1.1.0, only their own.
        assert opened("share") == "second"
        assert opened("share") == 404
        assert opened("share with passphrase", passphrase="wrong") == 403
        assert opened("share with passphrase", passphrase="open") == "shared"
        assert opened("share of away") == "second"
        unwrapped = call("/v1/sys/wrapping/unwrap", {"token": links["wrapped"]})[1]
        assert unwrapped["data"]["data"] == {"n": 2}
        filled = {"token": links["request"], "secret": b64encode(b"given").decode()}
        assert call("/vault/request/fill", filled, by="")[0] == 200
        assert value(*call(_FETCH, {"name": "billing/asked"})) == "given"
        # Who may do what.
        listed = call("/vault/token/list", {})[1]["tokens"]
        states = {one["name"]: one["state"] for one in listed}
        assert {name: states[name] for name in ("admin", "reader", "gone", "away")} == {
            "admin": "active",
            "reader": "active",
            "gone": "revoked",
            "away": "revoked",
        }
        assert [call(_FETCH, _NAMED, by)[0] for by in ("gone", "away", "auditor")] == [401, 401, 403]
        [role] = call("/vault/role/list", {})[1]["roles"]
        assert (role["name"], role["state"], role["claims"]) == ("deploy", "active", {"sub": "build"})
        [webhook] = call("/vault/webhook/list", {})[1]["webhooks"]
        assert (webhook["state"], webhook["created_by"]) == ("active", "admin")
        [plan] = call("/vault/rotation/list", {})[1]["rotations"]
        assert (plan["name"], plan["version"], plan["state"]) == ("shop/db", 2, "paused")
        # An auditor of a namespace keeps what 1.1.0 gave, the entries of all, and the list says so.
        assert {one["name"] for one in listed if one["all_namespaces"]} >= {"admin", "auditor"}
        team = call("/vault/token/list", {}, "team")[1]["tokens"]
        assert {one["name"]: one["all_namespaces"] for one in team} == {"team": True, "auditor": True}
        entries = call("/vault/audit/query", {"action": "update", "limit": 10}, "team-auditor")[1]["entries"]
        assert "billing/db" in {entry["details"].get("name") for entry in entries}
    checkpoint = tmp_path / "checkpoint.json"
    checkpoint.write_text(json.dumps(_known("checkpoint")))
    verify = ("audit", "verify", "--checkpoint", checkpoint)
    verified = run_command(*verify, environment=environment, folder=tmp_path)
    assert (verified.returncode, verified.stdout.endswith("intact\n")) == (0, True), verified.stdout


def _write_keyring(folder: Path) -> Path:
    """Write the keyring file of 1.1.0 to *folder*, whose program is there, too."""
    program = make_program(folder / "program")
    file = folder / "keyring.json"
    file.write_text(json.dumps(_known("keyring")).replace("/srv/custody-program", program))
    return file


def test_a_keyring_file_of_1_1_0_stays_in_use(mongo_uri: str, tmp_path: Path) -> None:
    """It opens the database of its master key, by its program and its shares, before and after a change.

    The first command that writes it makes each key confirm it.
    """
    environment = {
        "MASTER_KEYRING_FILE": str(_write_keyring(tmp_path)),
        "MONGO_URI": mongo_uri,
        "AUTH_ENABLED": "true",
    }
    _run(environment, tmp_path, "restore", _BACKUP_3)
    words = "\n".join(_known("custody")[1:])
    reader = bearer(_known("tokens")["reader"])

    def use() -> Any:
        with Service(environment, folder=tmp_path) as service:
            service.wait_until("/health/ready")
            assert service.post(_FETCH, _NAMED, **reader).body == _encoded(b"second")
        _run(environment, tmp_path, "keys", "custody", "check", "--recovery", given=words)
        return json.loads(Path(environment["MASTER_KEYRING_FILE"]).read_text())["format"]

    assert use() == 1
    _run(environment, tmp_path, "keys", "custody", "rewrap", "prog")
    assert use() == 2
    assert _run(environment, tmp_path, "audit", "verify").endswith("intact")


def _run(environment: dict[str, str], folder: Path, *arguments: object, given: str = "") -> str:
    """Return the output of a command, as a process of its own, with *given* on standard input."""
    command = [sys.executable, "-m", "vault.cli", *map(str, arguments)]
    whole = {"PATH": os.environ["PATH"], **environment}
    done = subprocess.run(
        command, cwd=folder, env=whole, capture_output=True, text=True, check=False, input=given
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _agree(one: Service, other: Service, token: dict[str, str]) -> None:
    """Store at *one* or *other* and read at the other one, by both APIs, with all that both must share."""

    def ask(service: Service, path: str, body: object, **headers: str) -> Any:
        reply = service.post(path, body, **token, **headers)
        assert reply.status == 200, (path, reply)
        return reply.body

    name = {"name": f"shared/{secrets.token_hex(8)}"}
    key = {"Idempotency-Key": secrets.token_hex(20)}
    created = ask(one, "/vault/secret/create", name | _encoded(b"first"), **key)
    assert ask(other, "/vault/secret/create", name | _encoded(b"first"), **key) == created
    ask(other, _UPDATE, name | _encoded(b"second") | {"expected_version": 1})
    assert ask(one, _FETCH, name) == _encoded(b"second")
    ask(one, "/vault/secret/delete", name)
    ask(other, "/vault/secret/restore", name)
    assert ask(one, _FETCH, name) == _encoded(b"second")
    path = f"/v1/secret/data/{secrets.token_hex(8)}"
    for version, (writer, reader) in enumerate(((one, other), (other, one))):
        ask(writer, path, {"data": {"n": version}, "options": {"cas": version}})
        assert reader.get(path, **token).body["data"]["data"] == {"n": version}
    wrapped = one.get(path, **token, **{"X-Vault-Wrap-TTL": "60"}).body["wrap_info"]["token"]
    assert ask(other, "/v1/sys/wrapping/unwrap", {"token": wrapped})["data"]["data"] == {"n": 1}
    limited = ask(one, "/vault/secret/create", _encoded(b"twice") | {"max_reads": 2})
    once = {"secret_id": limited["secret_id"]}
    assert [each.post(_FETCH, once, **token).status for each in (other, one, other)] == [200, 200, 404]
    made = ask(one, "/vault/token/create", {"name": secrets.token_hex(8), "role": "reader"})
    assert other.post(_FETCH, name, **bearer(made["token"])).status == 200


def _listed(service: Service, token: dict[str, str]) -> int:
    return service.post("/vault/secret/list", {}, **token).status


@pytest.mark.nightly
@pytest.mark.parametrize("version", ["1.0.0", "1.1.0"])
def test_an_earlier_version_works_on_the_same_database_before_beside_and_after(
    mongo_uri: str, tmp_path: Path, version: str
) -> None:
    """Both versions read and change what the other one stored, and both verify the whole trail."""
    newer = {"MASTER_KEY": _KEY, "MONGO_URI": mongo_uri, "AUTH_ENABLED": "true", "DELETE_RECOVERY_DAYS": "1"}
    newer |= {"WEB_CONCURRENCY": "1"}
    release, folder = tmp_path / "release", tmp_path / "run"
    folder.mkdir()
    earlier = newer | {"PYTHONPATH": str(check_out(version, release))}
    token = bearer(_run(earlier, folder, "tokens", "create", "--name", "admin", "--role", "admin"))
    services = [Service(environment, folder=folder, command=SERVE) for environment in (earlier, newer)]
    checkpoints = []
    with services[0] as before:
        before.wait_until("/health/ready")
        _agree(before, before, token)
        checkpoints.append(_run(earlier, folder, "audit", "checkpoint"))
        _run(earlier, folder, "backup", "before.tar")
        with services[1] as beside:
            beside.wait_until("/health/ready")
            for _ in range(10):
                _agree(before, beside, token)
                _agree(beside, before, token)
    checkpoints.append(_run(newer, folder, "audit", "checkpoint"))
    _run(newer, folder, "backup", "after.tar")
    with services[0] as back:
        back.wait_until("/health/ready")
        _agree(back, back, token)

        # As after a day without a request: its stream is closed, and it begins another one.
        if version == "1.0.0":
            with connected(mongo_uri):
                close_all(Keyring(MasterKey(b64decode(_KEY))))
            assert _listed(back, token) == 503
        assert _listed(back, token) == 200
        checkpoints.append(_run(earlier, folder, "audit", "checkpoint"))
        _run(earlier, folder, "backup", "back.tar")
    for environment in (earlier, newer):
        for checkpoint in checkpoints:
            (folder / "checkpoint").write_text(checkpoint)
            verified = _run(environment, folder, "audit", "verify", "--checkpoint", "checkpoint")
            assert verified.endswith("intact")
        for backup in ("before.tar", "after.tar", "back.tar"):
            assert _run(environment, folder, "drill", backup).endswith("the backup is good")


def _exit_code(environment: dict[str, str], folder: Path, *arguments: object) -> int:
    """Return the exit code of a command, which may be refused."""
    command = [sys.executable, "-m", "vault.cli", *map(str, arguments)]
    whole = {"PATH": os.environ["PATH"], **environment}
    return subprocess.run(command, cwd=folder, env=whole, capture_output=True, check=False).returncode


@pytest.mark.nightly
def test_what_1_1_0_does_with_a_database_of_this_version(mongo_uri: str, tmp_path: Path) -> None:
    """As docs/upgrade.md says: 1.1.0 serves it without authentication, and opens links that have ended."""
    newer = {"MASTER_KEY": _KEY, "MONGO_URI": mongo_uri, "AUTH_ENABLED": "true", "WEB_CONCURRENCY": "1"}
    earlier = newer | {"PYTHONPATH": str(check_out("1.1.0", tmp_path / "release"))}
    _run(newer, tmp_path, "restore", _BACKUP_3)
    admin, name = bearer(_known("tokens")["admin"]), "shared-by"
    services = [Service(environment, folder=tmp_path, command=SERVE) for environment in (newer, earlier)]
    with services[0] as ours, services[1] as theirs:
        for service in (ours, theirs):
            service.wait_until("/health/ready")
        made = ours.post("/vault/token/create", {"name": name, "role": "admin"}, **admin).body["token"]
        links = [ours.post("/vault/secret/share", _NAMED, **bearer(made)).body["token"] for _ in range(3)]
        opened = theirs.post("/vault/share/open", {"token": links.pop()})
        assert (opened.status, opened.body) == (200, _encoded(b"second"))
        # A token of its own namespace alone: 1.1.0 cannot verify its seal. One of 1.1.0 sees all.
        grant = {"name": secrets.token_hex(8), "scopes": ["audit:read"]}
        team = bearer(_known("tokens")["team"])
        limited = ours.post("/vault/token/create", grant, **team).body["token"]
        query = ("/vault/audit/query", {"action": "update"})
        assert [one.post(*query, **bearer(limited)).status for one in (ours, theirs)] == [200, 401]
        grant["name"] = secrets.token_hex(8)
        wide = theirs.post("/vault/token/create", grant, **team).body["token"]
        assert len(ours.post(*query, **bearer(limited)).body["entries"]) == 0
        assert len(ours.post(*query, **bearer(wide)).body["entries"]) > 0
        # A plain revocation by either version is one for both.
        assert theirs.post("/vault/token/revoke", {"name": name}, **admin).status == 200
        assert ours.post("/vault/share/open", {"token": links.pop()}).status == 404
        assert theirs.post("/vault/share/open", {"token": links.pop()}).status == 200
    # With authentication off, it serves what this version does not.
    openly = {"AUTH_ENABLED": "false"}
    with Service(earlier | openly, folder=tmp_path, command=SERVE) as theirs:
        theirs.wait_until("/health/ready")
    with Service(newer | openly, folder=tmp_path, command=SERVE) as ours:
        ours.wait_until("/health/live")
        assert ours.get("/health/ready").status == 503
    for environment in (earlier, newer):
        assert _run(environment, tmp_path, "audit", "verify").endswith("intact")


@pytest.mark.nightly
def test_what_1_1_0_does_with_a_keyring_file_of_this_version(mongo_uri: str, tmp_path: Path) -> None:
    """As docs/upgrade.md says: it refuses the file, and opens the one before it, or one without its MACs."""
    file = _write_keyring(tmp_path)
    newer = {"MASTER_KEYRING_FILE": str(file), "MONGO_URI": mongo_uri, "AUTH_ENABLED": "true"}
    earlier = newer | {"PYTHONPATH": str(check_out("1.1.0", tmp_path / "release"))}
    custody = ("keys", "custody")
    _run(newer, tmp_path, "restore", _BACKUP_3)
    assert _exit_code(earlier, tmp_path, *custody, "check") == 0
    _run(newer, tmp_path, *custody, "rewrap", "prog")
    written = json.loads(file.read_text())
    assert written["format"] == 2
    assert _exit_code(earlier, tmp_path, *custody, "check") == 1
    assert _exit_code(earlier, tmp_path, "serve") == 1
    # The way back: the file from before, or this one without the MACs.
    stripped = {"format": 1, "keys": [_without_mac(key) for key in written["keys"]]}
    for text in (file.with_name("keyring.json.before").read_text(), json.dumps(stripped)):
        file.write_text(text)
        _run(earlier, tmp_path, *custody, "check", "--accept")
        with Service(earlier, folder=tmp_path, command=SERVE) as service:
            service.wait_until("/health/ready")
            reader = bearer(_known("tokens")["reader"])
            assert service.post(_FETCH, _NAMED, **reader).body == _encoded(b"second")
        # And forward again.
        assert _exit_code(newer, tmp_path, *custody, "check", "--accept") == 0
    assert _run(newer, tmp_path, "audit", "verify").endswith("intact")


def _without_mac(key: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in key.items() if name != "mac"}

"""Measure `secret-manager audit report`, or take its picture.

`python loadtest/report.py [ENTRIES]` starts a MongoDB (a replica set with one member), fills it with a month
of a small company, and makes the page. It runs first with a tenth of ENTRIES, to compare memory use.

`python loadtest/report.py --picture docs/report.png` makes the page of 40,000 entries, and takes its picture
with Chromium.
"""

import random
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import measured

from vault.audit.stream import StoredEntry, Stream
from vault.cli.dev.mongod import Mongod
from vault.crypto import Keyring
from vault.crypto.chain import SigningKey
from vault.crypto.token import new_token
from vault.crypto.token_key import TokenKey
from vault.documents import AuditEntry, Database, EncryptOnSave, Secret
from vault.documents.token import StoredTokenKey, Token

_DAYS = 30
_BATCH = 1_000
_COMMIT = 8
_PICTURE_ENTRIES = 40_000
_PICTURE_SIZE = (1120, 1109)

#: Principals: their share of the requests, the hours of their work, their program and the secrets they read.
_PRINCIPALS: dict[str, tuple[int, range, str, tuple[str, ...]]] = {
    "checkout": (34, range(24), "checkout/4.2 python-requests/2.32", ("shop/stripe-key", "shop/db-password")),
    "swarm-driver": (
        17,
        range(24),
        "secret-manager-driver",
        ("shop/db-password", "mail/smtp-password", "shop/redis"),
    ),
    "github:acme/shop": (
        15,
        range(8, 19),
        "vault-action/3.4",
        ("ci/registry", "ci/signing-key", "ci/npm-token"),
    ),
    "mailer": (12, range(6, 22), "mailer/1.9 hvac/2.4", ("mail/smtp-password", "mail/dkim-key")),
    "reports": (6, range(1, 4), "curl/8.14.1", ("warehouse/db-password", "warehouse/s3")),
    "alice": (4, range(8, 18), "secret-manager/1.0", ("ci/registry", "shop/db-password", "tls/wildcard-key")),
    "renewer": (2, range(3, 5), "bao/2.7", ("tls/wildcard-key",)),
    "operator": (1, range(7, 9), "", ()),
}
_REFUSALS = (
    *(("anonymous", "fetch", "no credential"),) * 5,
    *(("anonymous", "fetch", "unknown token"),) * 3,
    ("mailer", "fetch", "outside its paths"),
    ("reports", "update", "lacks the scope secret:update"),
    ("github:acme/shop", "create", "outside its paths"),
)
_SECRETS = sorted({name for *_, names in _PRINCIPALS.values() for name in names})


def fill(uri: str, key: bytes, count: int) -> None:
    """Store *count* entries of the last month, signed with *key*, and their secrets and tokens."""
    keyring, now = Keyring.of(key, ()), datetime.now(UTC)
    # The same picture each time; nothing of it is secret.
    chance = random.Random(7)  # noqa: S311
    ids = {name: str(UUID(int=chance.getrandbits(128), version=4)) for name in _SECRETS}
    database = Database(uri, audit_ttl_days=0)
    database.prepare()
    _store_secrets(keyring, ids, now, chance)
    _store_tokens(keyring, now, chance)
    streams = [Stream(SigningKey(keyring.primary)) for _ in range(4)]
    batch: list[StoredEntry] = []
    for number, time in enumerate(_times(count // _COMMIT, now, chance)):
        entries = [_entry(time, ids, chance) for _ in range(_COMMIT)]
        stream = streams[number % len(streams)]
        stream.chain(entries, time)
        stream.committed(entries[-1])
        batch += entries
        if len(batch) >= _BATCH:
            AuditEntry.store(batch)
            batch = []
    AuditEntry.store(batch or [_last(streams[0], now)])
    database.close()


def _last(stream: Stream, now: datetime) -> StoredEntry:
    entry: StoredEntry = {"action": "backup", "status": "success", "principal": "operator"}
    stream.chain([entry], now)
    return entry


def _times(count: int, now: datetime, chance: random.Random) -> list[datetime]:
    """Return *count* times in order: fewer at night and at weekends, and a busy day."""
    times = []
    while len(times) < count:
        time = now - timedelta(seconds=chance.uniform(0, _DAYS * 86_400))
        weight = (1.0 if 7 <= time.hour < 19 else 0.35) * (0.45 if time.weekday() > 4 else 1.0)
        if chance.random() < weight * (1.0 if (now - time).days == 9 else 0.6):
            times.append(time)
    return sorted(times)


def _entry(time: datetime, ids: dict[str, str], chance: random.Random) -> StoredEntry:
    if chance.random() < (0.12 if time.hour in (2, 3) and time.day % 9 == 0 else 0.015):
        principal, action, reason = chance.choice(_REFUSALS)
        return _made(principal, action, "denied", "198.51.100.7", "python-requests/2.32", {"reason": reason})
    known = [name for name, (_, hours, *_) in _PRINCIPALS.items() if time.hour in hours]
    principal = chance.choices(known, [_PRINCIPALS[name][0] for name in known])[0]
    _, _, agent, names = _PRINCIPALS[principal]
    ip = f"10.0.{len(principal) % 7}.{chance.randrange(10, 40)}"
    if not names:
        return _made(principal, "backup", "success", "", "", {"as_of": time.isoformat(timespec="seconds")})
    name = names[min(int(chance.expovariate(1.3)), len(names) - 1)]
    action = chance.choices(("fetch", "describe", "update", "list"), (88, 7, 2, 3))[0]
    status = "error" if chance.random() < 0.001 else "success"
    about = {} if action == "list" else {"secret_id": ids[name]}
    return _made(principal, action, status, ip, agent, {"namespace": "default", "name": name}) | about


def _made(
    principal: str, action: str, status: str, ip: str, agent: str, details: dict[str, Any]
) -> StoredEntry:
    return {
        "action": action,
        "status": status,
        "principal": principal,
        "ip": ip,
        "ua": agent,
        "request_id": secrets.token_hex(16),
        "details": details,
    }


def _store_secrets(keyring: Keyring, ids: dict[str, str], now: datetime, chance: random.Random) -> None:
    hook = EncryptOnSave(keyring)
    hook.connect()
    for number, (name, secret_id) in enumerate(ids.items()):
        age = timedelta(days=chance.choice((3, 12, 25, 60, 75, 130, 200, 420, 800)))
        expires_at = now + timedelta(days=chance.randrange(2, 29)) if number % 4 == 0 else None
        secret = Secret(
            id=secret_id, name=name, created_at=now - age, expires_at=expires_at, purge_at=expires_at
        )
        secret.set_plaintext(secrets.token_bytes(24))
        secret.save(force_insert=True)
    hook.disconnect()


def _store_tokens(keyring: Keyring, now: datetime, chance: random.Random) -> None:
    material = TokenKey.new_material()
    StoredTokenKey.of(material, keyring).save(force_insert=True)
    key = TokenKey(material)
    for name in (*_principals(), "old-laptop", "trial", "reports-2025"):
        is_used = name in _PRINCIPALS
        token = Token(
            id=key.hash(new_token()),
            name=name,
            namespace="default",
            scopes=["secret:fetch"],
            created_at=(now - timedelta(days=chance.randrange(60, 500))).replace(microsecond=0),
            created_by="operator",
            expires_at=(now + timedelta(days=chance.randrange(3, 200))).replace(microsecond=0),
            last_used_at=now - timedelta(hours=chance.randrange(1, 40)) if is_used else None,
        )
        token.close(key)
        token.save(force_insert=True)


def _principals() -> Iterator[str]:
    return (name for name in _PRINCIPALS if ":" not in name and name != "operator")


def measure(count: int, folder: Path) -> Path:
    """Make the page of *count* entries, print its time and memory, and return it."""
    key, page = secrets.token_bytes(32), folder / "report.html"
    with Mongod(folder / "db") as mongod:
        fill(mongod.uri, key, count)
        environment = measured.environment(mongod.uri, key)
        for option in ("--no-verify", "--verify"):
            taken = measured.run("audit", "report", option, "--html", str(page), environment=environment)
            size = page.stat().st_size
            print(
                f"{count} entries, {option}: {taken.seconds:.1f} s, "
                f"{taken.cpu_seconds:.1f} s of CPU time here, {taken.mebibytes} MiB, {size:,} bytes",
                flush=True,
            )
    return page


def take_picture(page: Path, picture: Path) -> None:
    """Take a *picture* of the beginning of the *page*."""
    size = ",".join(map(str, _PICTURE_SIZE))
    options = (
        "--headless",
        "--no-sandbox",
        "--hide-scrollbars",
        f"--window-size={size}",
        f"--screenshot={picture}",
    )
    chromium = shutil.which("chromium") or sys.exit("Install Debian's package chromium.")
    subprocess.run([chromium, *options, page.as_uri()], check=True)


def main() -> None:
    """Print the figures, or take the picture."""
    arguments = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        if arguments[:1] == ["--picture"]:
            take_picture(measure(_PICTURE_ENTRIES, Path(folder)), Path(arguments[1]).resolve())
            return
    most = int(arguments[0]) if arguments else 1_000_000
    for count in (most // 10, most):
        with tempfile.TemporaryDirectory() as folder:
            measure(count, Path(folder))


if __name__ == "__main__":
    main()

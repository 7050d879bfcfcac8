"""The deployment's files hold what the code says, as far as that shows without an engine."""

import re
import subprocess
import sys
from pathlib import Path

from tests.commands import command_environment
from vault import __version__
from vault.config.settings import SettingsSchema
from vault.documents.guard import OPERATION_TIMEOUT_SECONDS

ROOT = Path(__file__).parents[1]


def test_the_image_is_labelled_with_its_version() -> None:
    """The label of the image is the package's version."""
    [label] = re.findall(r'image\.version="(.+?)"', (ROOT / "Dockerfile").read_text())
    assert label == __version__


def test_every_setting_can_be_exported() -> None:
    """The stack takes each setting from the shell that deploys; address and TLS need more than that."""
    service = (ROOT / "stack.yml").read_text().split("    ports:")[0]
    taken = set(re.findall(r"^      ([A-Z_]+):", service, re.MULTILINE))
    left_out = {name for name in SettingsSchema().fields if name == "BIND" or name.startswith("TLS_")}
    assert taken == set(SettingsSchema().fields) - left_out


def test_the_retention_reaches_the_job_that_may_set_it() -> None:
    """For production the job with root's password takes AUDIT_TTL_DAYS from the shell that deploys."""
    job = (ROOT / "stack.secure.yml").read_text().split("  replica-set:\n")[1].split("    secrets:\n")[0]
    assert "replicaset\n      - initiate\n" in job
    assert re.findall(r"^      ([A-Z_]+):", job, re.MULTILINE) == ["MONGO_URI_FILE", "AUDIT_TTL_DAYS"]


def test_the_image_is_made_of_nothing_else() -> None:
    """Whatever lies in the checkout, a key in `.dev` or `.env`, is not sent to the engine."""
    rules = (ROOT / ".dockerignore").read_text().split("\n")
    assert rules[1] == "*"
    kept = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    assert kept == {"vault", "requirements", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"}


def test_mongodb_has_room_for_the_largest_document() -> None:
    """Both forms of the stack, and the server for trying out, give MongoDB the cache that it needs."""
    room = re.compile(r"wiredTigerCacheSizeGB\W+0\.5\b")
    for name in ("stack.yml", "stack.secure.yml", "vault/cli/mongod.py"):
        assert room.search((ROOT / name).read_text()), name


def test_who_is_stopped_has_time_for_its_requests(master_key: str) -> None:
    """A request may take less than a stopped worker waits for it, and that is less than the stack waits."""
    code = "from vault.server.gunicorn_conf import *; print(graceful_timeout, CLIENT_SECONDS)"
    environment = command_environment({"MASTER_KEY": master_key})
    said = subprocess.run(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, check=True
    ).stdout
    for_requests, for_the_body = map(int, said.split())
    [range_of_timeout] = SettingsSchema().fields["REQUEST_TIMEOUT_SECONDS"].validators
    # What was begun may still be taken back after that.
    assert for_the_body + range_of_timeout.max + OPERATION_TIMEOUT_SECONDS < for_requests
    service = (ROOT / "stack.yml").read_text().split("    ports:")[1]
    assert for_requests < int(re.findall(r"stop_grace_period: (\d+)s", service)[0])

"""The deployment files match the code, as far as that can be checked without an engine."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.commands import command_environment
from vault import __version__
from vault.common.config.settings import declared
from vault.core.documents.guard import OPERATION_TIMEOUT_SECONDS

ROOT = Path(__file__).parents[2]


def test_the_image_label_is_the_package_version() -> None:
    """The version label of both images is the package's version."""
    labels = re.findall(r'image\.version="(.+?)"', (ROOT / "Dockerfile").read_text())
    assert labels == [__version__] * 2


def test_the_retention_setting_reaches_its_job() -> None:
    """For production, the job with root's password takes AUDIT_TTL_DAYS from the deploying shell."""
    secure = (ROOT / "deploy/stack.secure.yml").read_text()
    job = secure.split("  replica-set:\n")[1].split("    secrets:\n")[0]
    assert "replicaset\n      - initiate\n" in job
    assert re.findall(r"^      ([A-Z_]+):", job, re.MULTILINE) == ["MONGO_URI_FILE", "AUDIT_TTL_DAYS"]


def test_the_build_context_contains_only_what_the_image_needs() -> None:
    """Other files of the checkout, such as a key in `.dev` or `.env`, are not sent to the engine."""
    rules = (ROOT / ".dockerignore").read_text().split("\n")
    assert rules[1] == "*"
    kept = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    assert kept == {"vault", "requirements", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"}


def test_mongodb_has_memory_for_the_largest_document() -> None:
    """Both stacks and the trial server give MongoDB the cache size that the largest document needs."""
    room = re.compile(r"wiredTigerCacheSizeGB\W+0\.5\b")
    for name in ("stack.yml", "deploy/stack.secure.yml", "vault/clients/dev/mongod.py"):
        assert room.search((ROOT / name).read_text()), name


def test_a_plugin_can_keep_all_data() -> None:
    """VOLUME_DRIVER, empty by default, is the driver of every volume but that of scratch databases."""
    files = [yaml.safe_load((ROOT / name).read_text()) for name in ("stack.yml", "deploy/stack.secure.yml")]
    volumes = {name: settings for file in files for name, settings in file["volumes"].items()}
    assert volumes.pop("drill") is None
    assert len(volumes) == 4
    assert all(settings == {"driver": "${VOLUME_DRIVER:-}"} for settings in volumes.values())


@pytest.mark.process
def test_a_stopped_worker_has_time_for_its_requests(master_key: str) -> None:
    """A request's timeout is below a worker's stop timeout, which is below the stack's stop timeout."""
    imports = "from vault.server.gunicorn_conf import *; from vault.server.clients import CLIENT_SECONDS"
    code = f"{imports}; print(graceful_timeout, CLIENT_SECONDS)"
    environment = command_environment({"MASTER_KEY": master_key})
    said = subprocess.run(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, check=True
    ).stdout
    for_requests, for_the_body = map(int, said.split())
    [range_of_timeout] = declared()["REQUEST_TIMEOUT_SECONDS"].form.validators
    # A rollback may still follow.
    assert for_the_body + range_of_timeout.max + OPERATION_TIMEOUT_SECONDS < for_requests
    service = (ROOT / "stack.yml").read_text().split("    ports:")[1]
    assert for_requests < int(re.findall(r"stop_grace_period: (\d+)s", service)[0])

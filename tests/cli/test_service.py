"""`secret-manager serve`."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.rotation import new_key, settings
from tests.service import Service
from vault.cli import commands

#: Modules that the service loads at its start and later, and optional ones of its libraries.
_PLANTED = (
    "gunicorn",
    "gevent",
    "vault",
    "flask",
    "mongoengine",
    "prometheus_client",
    "snappy",
    "bson",
    "json",
)
_SAFE = ("-P", "-m", "vault.cli", "serve")


def test_modules_of_the_working_folder_do_not_run(environment: dict[str, str], tmp_path: Path) -> None:
    """Write access to the working folder does not run code with the service's master key."""
    folder = tmp_path / "working"
    for name in _PLANTED:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(
            f"import os\nos.close(os.open({str(tmp_path / 'ran-')!r} + __name__, os.O_CREAT))\n"
            "raise SystemExit('a planted module ran')\n"
        )
    with Service(environment, folder=folder, command=_SAFE) as service:
        service.wait_until("/health/ready")
        assert service.fetch(service.create(b"value")).status == 200
    assert not list(tmp_path.glob("ran-*"))


@pytest.mark.parametrize(("options", "level"), [([], "debug"), (["-q"], "warning")], ids=["loud", "quiet"])
def test_a_quiet_service_logs_warnings_only(
    options: list[str], level: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With `--quiet`, the log has warnings and errors only; otherwise LOG_LEVEL decides."""
    monkeypatch.chdir(tmp_path)
    levels = []
    monkeypatch.setattr(os, "execv", lambda *_: levels.append(os.environ["LOG_LEVEL"]))
    environment = settings("mongodb://127.0.0.1:1", new_key()) | {"LOG_LEVEL": "debug", "PYTHONSAFEPATH": "1"}
    assert CliRunner(env=environment).invoke(commands, ["serve", *options]).exit_code == 0
    assert levels == [level]

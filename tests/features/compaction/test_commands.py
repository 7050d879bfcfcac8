"""The command `audit compact`."""

from pathlib import Path

from tests.support.commands import invoke
from tests.support.rotation import Stored
from tests.support.waiting import wait_until


def test_streams_that_have_just_ended_wait(
    environment: dict[str, str], stored: Stored, tmp_path: Path
) -> None:
    """`audit compact` closes idle streams, and says to run it again an hour later."""

    def run(*command: str) -> str:
        done = invoke(*command, environment=environment, folder=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stderr

    run("tokens", "create", "--name", "ci", "--role", "reader")
    wait_until(lambda: "run this again later" in run("audit", "compact", "--idle", "1s"))
    assert "stream_closed" in stored.audit_logs.distinct("action")

"""The commands `swarm rotate` and `swarm holders`, with the real service and a stand-in for Docker."""

import json
from errno import ENOSPC
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from flask.testing import FlaskClient

from tests.clients.swarm.world import DRIVER, NAME, OPERATOR, World
from tests.toolkit.client.in_process import connect, no_login
from vault.cli import commands
from vault.clients.swarm.rotation import follower
from vault.toolkit.cli.output import Output


@pytest.fixture
def world(released: World, client: FlaskClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Return a swarm with a service, and the service that commands of the operator reach, in this process."""
    released.dockerd.service("shop_api", [released.dockerd.secret("db", name=NAME)])
    connect(client, monkeypatch)
    no_login(monkeypatch, tmp_path)
    return released


def swarm(world: World, *arguments: object, given: bytes = b"") -> Result:
    """Run a command of the group as the operator."""
    world.caller.become(OPERATOR)
    # The driver acts meanwhile, as another principal.
    deliver = world.dockerd._deliver

    def delivered(context: dict[str, str], labels: dict[str, str]) -> bytes | None:
        try:
            return deliver(context, labels)
        finally:
            world.caller.become(OPERATOR)

    world.dockerd._deliver = delivered
    done = CliRunner().invoke(commands, ["swarm", *map(str, arguments)], input=given)
    world.dockerd._deliver = deliver
    return done


def test_a_value_is_rotated(world: World, tmp_path: Path) -> None:
    """The value comes from a file or standard input, byte for byte; each step has a line."""
    done = swarm(world, "rotate", NAME, "-", given=b"new")
    assert (done.exit_code, done.stdout) == (0, "version 2 of shop/db is in use\n")
    assert done.stderr.splitlines() == [
        "version 2 of shop/db is stored",
        "shop_api: restarting",
        "shop_api: healthy with version 2",
    ]
    assert world.value == b"new"
    file = tmp_path / "value"
    file.write_bytes(b"newer\n")
    assert swarm(world, "rotate", NAME, file, "-q").stderr == ""
    assert world.value == b"newer\n"
    assert world.dockerd.configs == {}


def test_programs_get_a_line_of_json_for_each_step(world: World) -> None:
    """With --json, each step is an object, and the last one is the result."""
    done = swarm(world, "rotate", NAME, "--generate", 40, "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["event"] for event in events] == ["stored", "restarting", "healthy", "rotated"]
    assert events[2]["service"] == "shop_api"
    assert events[-1] == {"event": "rotated", "name": NAME, "version": 2, "services": ["shop_api"]}
    assert len(world.value) == 40
    assert world.value.isalnum()


def test_an_earlier_value_and_the_rest_of_a_rotation(world: World) -> None:
    """The value of an earlier version becomes the newest; --resume stores nothing."""
    swarm(world, "rotate", NAME, "-", given=b"new")
    assert swarm(world, "rotate", NAME, "--from-version", 1).exit_code == 0
    assert world.value == b"old"
    world.caller("update", name=NAME, secret="bmV3ZXI=")
    assert swarm(world, "rotate", NAME, "--resume").stdout == "version 4 of shop/db is in use\n"
    assert world.versions() == {"shop_api": [4, 4]}


def test_a_driver_of_another_name(world: World) -> None:
    """Tasks with secrets of another driver are not holders, unless --driver names it."""
    [secret] = world.dockerd.secrets.values()
    secret["Spec"]["Driver"] = {"Name": "other"}
    assert swarm(world, "rotate", NAME, "-", given=b"new").exit_code == 0
    assert world.dockerd.restarted == []
    assert "shop_api.1" not in swarm(world, "holders", NAME).stdout
    assert "shop_api.1" in swarm(world, "holders", NAME, "--driver", "other").stdout
    done = swarm(world, "rotate", NAME, "--resume", "--driver", "other", "--owner", "me")
    assert (done.exit_code, world.dockerd.restarted) == (0, ["shop_api"])


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["text", "JSON"])
def test_a_rotation_does_not_need_a_reader_of_its_steps(
    world: World, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    """If a step cannot be printed, as on a full disk, the rotation goes on to its end."""
    attempts = []

    def full(_: object, event: object, *__: object) -> None:
        attempts.append(event)
        raise OSError(ENOSPC, "No space left on device")

    monkeypatch.setattr(Output, "result", full)
    monkeypatch.setattr(Output, "note", full)
    assert swarm(world, "rotate", NAME, "-", *options, given=b"new").exit_code == 1
    # The first step, and the outcome.
    assert len(attempts) == 2
    assert world.value == b"new"
    assert world.versions() == {"shop_api": [2, 2]}
    assert world.dockerd.configs == {}


def test_a_bad_value_exits_with_1(world: World) -> None:
    """A rotation that is rolled back says so, and does not quote the value."""
    world.dockerd.unhealthy["shop_api"] = {b"hush"}
    done = swarm(world, "rotate", NAME, given=b"hush")
    assert done.exit_code == 1
    assert "Rolled back: version 3 has the value of version 1" in done.stderr
    assert "hush" not in done.output


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["-", "--resume"], "Use one of FILE"),
        (["--resume", "--generate", "20"], "Use one of FILE"),
        (["--generate", "1"], "must be in the range"),
        (["--from-version", "0"], "must be in the range"),
        (["--timeout", "soon"], "must be a number of seconds, or one with a unit"),
        (["--timeout", "0s"], "must be between 1 second"),
    ],
)
def test_an_invalid_option_is_a_usage_error(world: World, options: list[str], reason: str) -> None:
    """Options that contradict each other or have a wrong form are refused before anything is stored."""
    done = swarm(world, "rotate", NAME, *options)
    assert done.exit_code == 2
    assert reason in done.output
    assert world.dockerd.restarted == []


def test_holders_are_a_table(world: World) -> None:
    """Each running task has a line with its version; the newest and those of labels are marked."""
    world.caller.become(OPERATOR)
    world.caller("update", name=NAME, secret="bmV3")
    world.dockerd.service(
        "shop_web", [world.dockerd.secret("pin", name=NAME, version="2")], mode={"Global": {}}
    )
    world.is_recording = False
    world.dockerd.service("shop_zoo", [world.dockerd.secret("zoo", name=NAME)], mode={"Global": {}})
    done = swarm(world, "holders", NAME)
    assert [line.split(maxsplit=4) for line in done.stdout.splitlines()] == [
        ["service", "task", "node", "state", "version"],
        ["shop_api", "shop_api.1", "manager-1", "running", "1"],
        ["shop_api", "shop_api.2", "manager-1", "running", "1"],
        ["shop_web", "shop_web.manager-1", "manager-1", "running", "2 (newest, named by its labels)"],
        ["shop_zoo", "shop_zoo.manager-1", "manager-1", "running", "unknown: no delivery on record"],
    ]
    assert done.stderr == "The newest version of shop/db is 2.\n"
    lines = [json.loads(line) for line in swarm(world, "holders", NAME, "--json").stdout.splitlines()]
    assert lines[0] == {
        "service": "shop_api",
        "task": "shop_api.1",
        "task_id": lines[0]["task_id"],
        "node": "manager-1",
        "state": "running",
        "version": 1,
        "newest_version": 2,
        "is_newest": False,
        "is_pinned": False,
    }
    assert [line["version"] for line in lines] == [1, 1, 2, None]


def test_rotations_at_the_source_are_followed_until_a_stop(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The follower looks for rotations at its interval; a stop ends it without an error."""
    pauses: list[float] = []

    def stop(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(follower, "sleep", stop)
    world.caller.become(DRIVER)
    done = CliRunner().invoke(commands, ["swarm", "follow", "--interval", "3s"])
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "following rotations\n")
    assert pauses == [3, 3]

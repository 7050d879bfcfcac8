"""The check of the settings before a deployment."""

import json

import pytest

from tests.clients.swarm.deployment.conftest import Run
from tests.clients.swarm.deployment.world import IMAGE, World


@pytest.fixture(autouse=True)
def _settings(swarm: World) -> None:
    """Let the stack files have settings, of which the shell sets one."""
    environment = {"AUDIT_TTL_DAYS": "30", "AUTH_ENABLED": "true", "CORS_ORIGINS": None, "MONGO_URI": ""}
    swarm.stack_file["services"]["secret-manager"]["environment"] = environment


def finding(result: str, text: str, setting: str = "") -> str:
    """Return a line of `config check --json`."""
    return json.dumps({"result": result, "setting": setting, "text": text}) + "\n"


def test_the_settings_are_checked_in_the_image(swarm: World, deploy: Run) -> None:
    """The check has the settings that are set, no value in an argument, and neither network nor files."""
    deploy()
    [(call, options)] = [(call, options) for call, options in swarm.called if call[0] == "run"]
    assert list(call) == [
        *("run", "--rm", "--network=none", "--read-only", "--cap-drop=ALL"),
        *("--env", "AUDIT_TTL_DAYS", "--env", "AUTH_ENABLED"),
        *(IMAGE, "config", "check", "--no-files", "--json"),
    ]
    assert options["env"]["AUDIT_TTL_DAYS"] == "30"


def test_wrong_settings_stop_a_deployment(swarm: World, deploy: Run) -> None:
    """If a setting is wrong, all findings are said, and nothing is changed."""
    wrong = finding("wrong", "Not a valid integer.", "AUDIT_TTL_DAYS")
    swarm.settings_check = (1, wrong + finding("warning", "a certificate expires"))
    done = deploy(status=1)
    assert swarm.made == []
    assert done.stderr.splitlines()[-3:] == [
        "wrong: AUDIT_TTL_DAYS: Not a valid integer.",
        "warning: a certificate expires",
        "error: the settings are wrong. Hint: correct them; nothing was changed",
    ]


def test_warnings_do_not_stop_a_deployment(swarm: World, deploy: Run) -> None:
    """What is only doubtful is said, and the deployment goes on."""
    swarm.settings_check = (3, finding("warning", "CORS_ORIGINS is *") + finding("ok", "fine"))
    done = deploy()
    assert "warning: CORS_ORIGINS is *\n" in done.stderr
    assert "fine" not in done.stderr


def test_an_earlier_image_cannot_check(swarm: World, deploy: Run) -> None:
    """An image without the command can be deployed, with a warning."""
    swarm.settings_check = (2, "")
    assert "warning: this image cannot check its settings\n" in deploy().stderr


def test_an_image_that_does_not_start_stops_a_deployment(swarm: World, deploy: Run) -> None:
    """If the check cannot run, nothing is deployed."""
    swarm.settings_check = (125, "")
    assert "error: docker run ended with 125" in deploy(status=1).stderr
    assert swarm.made == []


@pytest.mark.parametrize(
    ("exported", "said"),
    [
        ("REPLICA", "REPLICA has no effect; did you mean REPLICAS?"),
        ("PUBLISH_PORT", "PUBLISH_PORT has no effect; did you mean PUBLISHED_PORT?"),
        ("MASTER_KEY_SECRETS", "MASTER_KEY_SECRETS has no effect; did you mean MASTER_KEY_SECRET?"),
        ("IMAGE_FILES", "IMAGE_FILES has no effect; did you mean IMAGES_FILE?"),
        ("BIND", "BIND has no effect: no stack file passes it to the service"),
        ("TLS_CERT", "TLS_CERT has no effect: no stack file passes it to the service"),
    ],
)
def test_a_variable_that_no_stack_file_reads_is_named(deploy: Run, exported: str, said: str) -> None:
    """A variable that is almost one of the deployment, or that it does not pass on, is a warning."""
    assert f"warning: {said}\n" in deploy(**{exported: "3"}).stderr


def test_the_image_judges_variables_that_are_almost_settings(swarm: World, deploy: Run) -> None:
    """One that is almost the name of a setting is checked, by its name only: its value may be a secret."""
    deploy(CORS_ORIGIN="hunter2")
    [(call, options)] = [(call, options) for call, options in swarm.called if call[0] == "run"]
    assert "CORS_ORIGIN" in call
    assert options["env"]["CORS_ORIGIN"] == "set"


def test_warnings_have_an_order(deploy: Run) -> None:
    """Two checks of the same variables say the same."""
    done = deploy(TLS_KEY="k", TLS_CERT="c", TLS_CLIENT_CA="a", BIND="b")
    said = [line.split()[1] for line in done.stderr.splitlines() if "no stack file" in line]
    assert said == ["BIND", "TLS_CERT", "TLS_CLIENT_CA", "TLS_KEY"]

"""`swarm run`, `swarm rotate-secret` and `swarm pin-images`."""

import os
import re
import socket
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.clients.swarm.deployment.conftest import Run
from tests.clients.swarm.deployment.test_deploy import DIGEST
from tests.clients.swarm.deployment.world import Job, World
from tests.docs.documents import ROOT
from vault.clients.swarm.commands import deployment
from vault.clients.swarm.deployment import program as module
from vault.clients.swarm.deployment.program import Program, ProgramError


def test_a_command_runs_as_the_operator(swarm: World, run: Run) -> None:
    """The job has the service's image and settings, the operator's user, and the current folder."""
    swarm.secured("AUDIT_SINK=unix:///dev/log")
    run("run", "tokens", "--help", "--json", MONGO_URI="mongodb://drill/")
    [container] = swarm.job_containers
    # Options after the command are the command's.
    assert container["Args"] == ["tokens", "--help", "--json"]
    assert container["User"] == f"{os.getuid()}:{os.getgid()}"
    assert container["Mounts"] == [{"Type": "bind", "Source": str(Path.cwd()), "Target": "/work"}]
    assert (container["Dir"], container["Env"]) == (
        "/work",
        ["AUDIT_SINK=unix:///dev/log", "MONGO_URI=mongodb://drill/"],
    )
    run("run", "backup", "vault.tar", MONGO_URI="")
    assert swarm.job_containers[1]["Env"] == [
        "AUDIT_SINK=unix:///dev/log",
        "MONGO_URI_FILE=/run/secrets/mongo_uri",
    ]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ("task: non-zero exit (3)", 3),
        ("task: non-zero exit (143): unhealthy container", 143),
        ("no such image", 1),
    ],
)
def test_an_operator_gets_the_command_s_own_exit_code(
    swarm: World, run: Run, error: str, status: int
) -> None:
    """`swarm run audit verify` tells a changed trail (1) from one that needs a look (3)."""
    swarm.secured()
    swarm.ends["audit verify"] = Job("the output", state="failed", error=error)
    done = run("run", "audit", "verify", status=status)
    assert done.stderr == f"the command failed: {error}\n"
    assert ("logs", "container-of-this-node") in [call for call, _ in swarm.called]


def test_what_is_no_command_starts_nothing(swarm: World, run: Run) -> None:
    """A command is a word, and not a token that was pasted; without a service, there is none."""
    for arguments in ((), ("smt_token",), ("--no-such-option",)):
        done = run("run", *arguments, status=2)
        assert swarm.jobs == []
        assert "smt_token" not in done.stderr
    assert "the service does not exist" in run("run", "backup", "a", status=1).stderr


def test_a_context_is_the_program_s(swarm: World, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without DOCKER_HOST, the engine is that of the program's context, also for the library."""
    monkeypatch.delenv("DOCKER_HOST")
    swarm.prints["context inspect"] = "unix:///elsewhere\n"
    monkeypatch.setattr(os, "environ", dict(os.environ))
    Program().use_context()
    assert os.environ["DOCKER_HOST"] == "unix:///elsewhere"
    Program().use_context()
    assert len(swarm.called) == 1
    run("rotate-key", status=1, DOCKER_HOST=None)
    assert len(swarm.called) == 2
    os.environ.pop("DOCKER_HOST", None)
    swarm.prints["context inspect"] = 1
    Program().use_context()
    assert "DOCKER_HOST" not in os.environ


def test_a_missing_program_is_one_line(swarm: World, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the program, nothing is changed."""
    monkeypatch.setattr(module, "shutil", SimpleNamespace(which=lambda _: None))
    done = run("deploy", "--checkout", str(ROOT), status=1)
    assert swarm.made == []
    assert "docker not found. Hint: install Docker 26 or newer" in done.stderr


def test_a_call_that_does_not_end_is_a_failure(swarm: World) -> None:
    """The time of a call can have a limit."""

    def late() -> str:
        raise subprocess.TimeoutExpired("docker", 1)

    swarm.prints["service logs"] = late
    with pytest.raises(ProgramError, match="docker service ended with 124"):
        Program().output("service", "logs", timeout=1)


@pytest.fixture
def engine(tmp_path: Path) -> str:
    """Return the `DOCKER_HOST` of a socket."""
    path = tmp_path / "d"
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(path))
    return f"unix://{path}"


def test_a_rotation_gets_value_and_token_without_arguments(
    swarm: World, run: Run, engine: str, tmp_path: Path
) -> None:
    """The value is the command's standard input, and the token is in a file; neither is shown."""
    value, ca_file = tmp_path / "value", tmp_path / "ca.pem"
    value.write_text("hush")
    ca_file.touch()
    seen: list[str] = []

    def container() -> str:
        call, options = swarm.called[-1]
        [file] = re.findall("source=([^,]*/token),", " ".join(call))
        seen.extend(
            (options["stdin"].read().decode(), Path(file).read_text(), oct(Path(file).stat().st_mode))
        )
        return ""

    swarm.prints["run "] = container
    done = run(
        *("rotate-secret", "--json", "shop/db", str(value), "--timeout", "2m"),
        VAULT_URL="https://secrets.example.com",
        VAULT_TOKEN="smt_hidden",
        VAULT_ROLE="rotator",
        VAULT_CACERT=str(ca_file),
        IMAGE="registry.example.com/secret-manager:1",
        DOCKER_HOST=engine,
    )
    assert done.output == ""
    assert seen == ["hush", "smt_hidden", "0o100600"]
    command = " ".join(swarm.called[-1][0])
    assert "smt_hidden" not in command
    assert "--network host " in command
    assert f"--mount type=bind,source={ca_file},target=/run/ca.pem,readonly " in command
    assert "--env VAULT_CACERT=/run/ca.pem " in command
    assert "--env VAULT_ROLE=rotator " in command
    # An image by that name from elsewhere would get the token and Docker's socket.
    assert "--pull never " in command
    assert re.search(
        r"registry\.example\.com/secret-manager:1 swarm rotate shop/db - --token-file /run/token "
        r"--owner \S+, process \d+ --json --timeout 2m$",
        command,
    )


def test_a_rotation_runs_beside_a_replica(swarm: World, run: Run, engine: str) -> None:
    """Without VAULT_URL, the container is in the network of a replica on this node, with its image."""
    swarm.secured("BIND=0.0.0.0:9000")
    run("rotate-secret", "shop/db", "--generate", "32", VAULT_TOKEN="t", DOCKER_HOST=engine)
    command = " ".join(swarm.called[-1][0])
    assert "--network container:container-of-this-node " in command
    assert "--env VAULT_URL=http://127.0.0.1:9000 " in command
    assert "sha256:0123456789abcdef swarm rotate shop/db --token-file" in command
    assert command.endswith(" --generate 32")


@pytest.mark.parametrize(
    ("arguments", "environment", "status", "reason"),
    [
        ([], {}, 2, "Missing argument 'NAME'"),
        (["--generate", "32"], {}, 2, "No such option '--generate'"),
        (["a", "/none"], {}, 2, "There is no such file."),
        (["a"], {}, 1, "no replica is ready on this node"),
        (["a"], {"VAULT_URL": "https://a"}, 1, "there is no terminal to ask for the token"),
        (
            ["a"],
            {"VAULT_URL": "https://a", "VAULT_TOKEN": "t", "DOCKER_HOST": "tcp://a"},
            1,
            "must be a socket",
        ),
        (
            ["a"],
            {"VAULT_URL": "https://a", "VAULT_TOKEN": "t", "DOCKER_HOST": "unix:///a"},
            1,
            "/a is not a socket",
        ),
        (
            ["a"],
            {"VAULT_URL": "https://a", "VAULT_TOKEN": "t", "VAULT_CACERT": "/none"},
            1,
            "VAULT_CACERT must",
        ),
        (["a", "--ca-cert", "b"], {}, 1, "export VAULT_CACERT instead of --ca-cert"),
    ],
)
def test_a_rotation_that_cannot_work_changes_nothing(
    swarm: World,
    run: Run,
    engine: str,
    arguments: list[str],
    environment: dict[str, str],
    status: int,
    reason: str,
) -> None:
    """The command says what is missing before it starts anything."""
    done = run("rotate-secret", *arguments, status=status, **{"DOCKER_HOST": engine, **environment})
    assert swarm.called == []
    assert reason in done.stderr


def test_a_service_with_a_certificate_is_named(swarm: World, run: Run, engine: str) -> None:
    """A certificate has no name of a container: the operator must export the service's URL."""
    swarm.service("secret-manager", "TLS_CERT=/run/secrets/tls_cert")
    done = run("rotate-secret", "a", "--generate", "32", status=1, VAULT_TOKEN="t", DOCKER_HOST=engine)
    assert "export its URL as VAULT_URL" in done.stderr
    assert swarm.called == []


def test_a_token_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal, the token is typed, and hidden."""
    monkeypatch.setattr(deployment, "sys", SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True)))
    monkeypatch.setattr(deployment.click, "prompt", lambda text, **options: f"{text} {options['hide_input']}")
    assert deployment._asked() == "Token True"


IMAGES = {
    "PYTHON_IMAGE": "python:3.13-slim",
    "MONGO_IMAGE": "mongo:7.0",
    "PROXY_IMAGE": "caddy:2.10.2",
    "PROMETHEUS_IMAGE": "prom/prometheus:v3.13.3",
    "GRAFANA_IMAGE": "grafana/grafana:12.4.4",
}


def test_every_external_image_is_pinned_by_its_digest(swarm: World, run: Run, tmp_path: Path) -> None:
    """`pin-images` writes the registry's digest of each image that the files name."""
    file = tmp_path / "images.env"
    swarm.prints["buildx"] = f"{DIGEST}\n"
    done = run("pin-images", "--checkout", str(ROOT), IMAGES_FILE=str(file))
    lines = [f"{name}={image}@{DIGEST}" for name, image in IMAGES.items()]
    assert file.read_text().splitlines() == done.stdout.splitlines() == lines


@pytest.mark.parametrize("output", ["<none>", 1])
def test_a_registry_without_a_digest_changes_nothing(
    swarm: World, run: Run, tmp_path: Path, output: str | int
) -> None:
    """Without an answer for every image the file stays unchanged, and no digest is invented."""
    file = tmp_path / "images.env"
    file.write_text("MONGO_IMAGE=mongo:7.0@sha256:before\n")
    swarm.prints["buildx imagetools inspect mongo"] = output
    swarm.prints["buildx"] = DIGEST
    done = run("pin-images", "--checkout", str(ROOT), IMAGES_FILE=str(file), status=1)
    assert "mongo:7.0" in done.stderr
    assert file.read_text() == "MONGO_IMAGE=mongo:7.0@sha256:before\n"


def test_no_external_image_is_named_elsewhere() -> None:
    """Every image that the deployment takes from a registry can be replaced by its digest."""
    stages = [
        line.split(" ")
        for name in ("Dockerfile", "loadtest/Dockerfile")
        for line in (ROOT / name).read_text().splitlines()
        if line.startswith("FROM ")
    ]
    assert {stage[1] for stage in stages} - {stage[3] for stage in stages if "AS" in stage} == {
        "${PYTHON_IMAGE}"
    }
    names = set()
    for file in (ROOT / "stack.yml", *ROOT.glob("deploy/*.yml")):
        for image in re.findall(r"^ *image: (.*)$", file.read_text(), re.MULTILINE):
            variable = re.fullmatch(r"\$\{((?:[A-Z]+_)?IMAGE):-[^}]+\}", image)
            assert variable, image
            names.add(variable[1])
    assert names == {
        *("IMAGE", "CLIENT_IMAGE", "MONGO_IMAGE", "PROXY_IMAGE", "PROMETHEUS_IMAGE", "GRAFANA_IMAGE")
    }

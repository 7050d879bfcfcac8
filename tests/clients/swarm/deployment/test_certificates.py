"""`swarm deploy --tls-cert`: the service's certificate in Docker secrets."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.clients.swarm.deployment.conftest import Run
from tests.clients.swarm.deployment.world import World
from tests.system import test_tls
from vault.clients.swarm.deployment import certificates
from vault.clients.swarm.deployment.certificates import Pair

PLAIN = "Encrypt requests"


def options(pair: test_tls.Pair) -> tuple[object, ...]:
    """Return the options that name this pair."""
    return "--tls-cert", pair.certificate, "--tls-key", pair.key


def merged(swarm: World) -> list[str]:
    """Return the stack files of the last deployment."""
    [*_, call] = [call for call, _ in swarm.called if call[:2] == ("stack", "config")]
    return [file for option, file in pairwise(call) if option == "-c"]


def has(swarm: World, number: str) -> None:
    """Let the service have the pair with this number."""
    swarm.container["Secrets"] = [
        {"SecretName": "mongo_uri"},
        {"SecretName": f"tls_cert_{number}"},
        {"SecretName": f"tls_key_{number}"},
    ]


def test_a_pair_becomes_docker_secrets_and_stays(secured: World, deploy: Run, tmp_path: Path) -> None:
    """Both files are Docker secrets, which later deployments use without being told, until one drops them."""
    made = test_tls.make(tmp_path, "service")
    number = Pair.read(made.certificate, made.key).number
    done = deploy(*options(made))
    names = {"TLS_CERT_SECRET": f"tls_cert_{number}", "TLS_KEY_SECRET": f"tls_key_{number}"}
    assert [line.split(maxsplit=2)[1] for line in secured.made if line.startswith("secret ")][-2:] == [
        *names.values()
    ]
    assert names.items() <= secured.deployed_with.items()
    assert merged(secured) == ["stack.yml", "deploy/stack.secure.yml", "deploy/stack.tls.yml"]
    assert f"The Docker secret tls_cert_{number} has a certificate until" in done.stderr
    assert made.key.read_text() not in done.output
    has(secured, number)
    secured.made.clear()
    for arguments in (options(made), ()):
        deploy(*arguments)
        assert names.items() <= secured.deployed_with.items()
        assert not [line for line in secured.made if line.startswith(("secret ", "remove "))]
    deploy("--no-tls")
    assert merged(secured) == ["stack.yml", "deploy/stack.secure.yml"]


def test_former_pairs_are_removed(secured: World, deploy: Run) -> None:
    """Those that the service has neither now nor before its last update go; other secrets stay."""
    for number in ("0" * 12, "1" * 12, "2" * 12):
        for name in (f"tls_cert_{number}", f"tls_key_{number}"):
            secured.secret(name)
    secured.secret("tls_cert_of_another")
    has(secured, "1" * 12)
    service = next(iter(secured.services.values()))
    container = {**secured.container, "Secrets": [{"SecretName": f"tls_cert_{'0' * 12}"}]}
    service["PreviousSpec"] = {"TaskTemplate": {"ContainerSpec": container}}
    deploy()
    assert [line for line in secured.made if line.startswith("remove")] == [
        *(f"remove id-tls_cert_{'2' * 12}", f"remove id-tls_key_{'2' * 12}")
    ]


def test_files_that_are_no_pair_are_refused(
    swarm: World, deploy: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another's key, what is no certificate, an expired one, and one file alone stop before any change."""
    made, other = test_tls.make(tmp_path, "service"), test_tls.make(tmp_path, "other")
    for arguments in (
        ("--tls-cert", made.certificate, "--tls-key", other.key),
        ("--tls-cert", made.key, "--tls-key", made.key),
    ):
        assert "are not a certificate and its key" in deploy(*arguments, status=1).stderr
    deploy("--tls-cert", made.certificate, status=2)
    deploy(*options(made), "--no-tls", status=2)
    # The certificate is valid for an hour.
    monkeypatch.setattr(certificates, "datetime", _Tomorrow)
    assert "expired on" in deploy(*options(made), status=1).stderr
    assert swarm.made == []


class _Tomorrow:
    @staticmethod
    def now(_: object) -> Any:
        from datetime import UTC, datetime, timedelta

        return datetime.now(UTC) + timedelta(days=1)


@pytest.mark.parametrize(
    ("setting", "is_plain"), [("TLS_CERT", False), ("TRUSTED_PROXIES", False), ("LOG_LEVEL", True)]
)
def test_a_deployment_without_tls_says_so(secured: World, deploy: Run, setting: str, is_plain: bool) -> None:
    """Without a certificate and without a proxy, the next steps name what is missing."""
    secured.stack_file["services"]["secret-manager"]["environment"] = {setting: "x"}
    assert (PLAIN in deploy().stdout) is is_plain


def test_no_repr_has_the_key() -> None:
    """A pair's `repr` has no key."""
    assert "hunter2" not in repr(Pair("certificate", "hunter2"))

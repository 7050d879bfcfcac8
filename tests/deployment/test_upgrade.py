"""The upgrade of a production deployment from the build before 1.0.0, and the way back, under load.

They run nightly. The build comes from the history of the checkout.
"""

import io
import subprocess
import tarfile
from collections.abc import Iterator

import pytest

from tests.deployment.engine import (
    API,
    BUILD_OPTIONS,
    OVERRIDE,
    ROOT,
    STACK,
    Load,
    assert_nothing_is_lost,
    docker,
    is_healthy,
    load,
    remove,
    run,
    wait_for,
)

pytestmark = [pytest.mark.process, pytest.mark.nightly]

_BEFORE = "c68ff7b"
_DEPLOY = {"PUBLISHED_PORT": "0", "DOCKER_BUILD_OPTIONS": BUILD_OPTIONS}
#: The load has no token.
_OPEN = 'services:\n  secret-manager:\n    environment:\n      AUTH_ENABLED: "false"\n'


@pytest.fixture(scope="module")
def open_stack(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a stack file without authentication."""
    file = tmp_path_factory.mktemp("stack") / "open.yml"
    file.write_text(_OPEN)
    return str(file)


@pytest.fixture(scope="module")
def earlier(image: str, open_stack: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Deploy the build before 1.0.0 with its own script, and return its image."""
    assert image
    packed = subprocess.run(
        ["git", "archive", "--format=tar", _BEFORE], cwd=ROOT, capture_output=True, check=False
    )
    if packed.returncode:
        pytest.skip("the checkout's history is shallow: it lacks the build before 1.0.0")
    folder = tmp_path_factory.mktemp("earlier")
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")
    try:
        run(str(folder / "scripts" / "deploy.sh"), str(ROOT / OVERRIDE), open_stack, **_DEPLOY)
        yield _image()
    finally:
        remove()


def _image() -> str:
    return docker("service", "inspect", API, "--format", "{{.Spec.TaskTemplate.ContainerSpec.Image}}")


def _update(image: str) -> None:
    """Update the job, then the service, as docs/upgrade.md says."""
    for service in (f"{STACK}_replica-set", API):
        docker("service", "update", "--quiet", "--no-resolve-image", "--image", image, service)
    wait_for(lambda: is_healthy(2), what="two healthy replicas")
    state = docker("service", "inspect", API, "--format", "{{.UpdateStatus.State}}")
    assert (_image(), state) == (image, "completed")


@pytest.fixture(scope="module")
def upgrade(earlier: str, open_stack: str) -> Load:
    """Deploy this version with its script, under load, and return what the load saw."""
    with load(callers=4) as outcome:
        run("scripts/deploy.sh", OVERRIDE, open_stack, **_DEPLOY)
    assert _image() != earlier
    return outcome


def test_the_upgrade_fails_no_request(upgrade: Load) -> None:
    """While the script replaces the earlier version, no request fails, and nothing is lost."""
    assert upgrade.failures == []
    assert_nothing_is_lost(upgrade)


@pytest.mark.usefixtures("upgrade")
def test_the_way_back_fails_no_request(earlier: str) -> None:
    """Back by the earlier image and forward again: no request fails, and nothing is lost."""
    newer = _image()
    with load(callers=4) as outcome:
        _update(earlier)
        _update(newer)
    assert outcome.failures == []
    assert_nothing_is_lost(outcome)


@pytest.mark.usefixtures("upgrade")
def test_the_earlier_image_alone_is_rolled_back(earlier: str) -> None:
    """Without its privileges in MongoDB, the earlier version does not become ready; the newer one serves."""
    newer = _image()
    with load(callers=4) as outcome:
        run(
            *("docker", "service", "update", "--quiet", "--no-resolve-image", "--image", earlier, API),
            check=False,
        )
        wait_for(lambda: is_healthy(2), what="two healthy replicas")
    assert _image() == newer
    assert outcome.failures == []
    assert_nothing_is_lost(outcome)

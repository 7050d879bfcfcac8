"""The recipe for an HSM in docs/custody.md, with its software HSM."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.documents import blocks
from tests.qa.deployment.engine import (
    BUILD_OPTIONS,
    OVERRIDE,
    Replica,
    docker,
    is_healthy,
    remove,
    replicas,
    run,
    wait_for,
)

pytestmark = pytest.mark.process


@pytest.fixture
def deployed(image: str, tmp_path: Path) -> Iterator[Replica]:
    """Follow the recipe on the empty engine, and return a replica."""
    assert image
    [recipe] = [block.text for block in blocks("docs/custody.md", "bash") if "begin-softhsm" in block.text]
    for text, here in {
        "docker build ": f"docker build --quiet {BUILD_OPTIONS} ",
        "keyring.json": f"{tmp_path}/keyring.json",
        "scripts/deploy.sh ": f"scripts/deploy.sh {OVERRIDE} ",
    }.items():
        assert text in recipe
        recipe = recipe.replace(text, here)
    try:
        run("bash", "-euc", recipe, PKCS11_PIN="471108", PUBLISHED_PORT="0")
        wait_for(lambda: is_healthy(2), what="two healthy replicas")
        yield replicas()[0]
    finally:
        remove()
        run("docker", "secret", "rm", "pkcs11_pin", check=False)
        run("docker", "volume", "rm", "secret-manager_tokens", check=False)


def test_the_recipe_for_an_hsm_works(deployed: Replica) -> None:
    """No container has the master key: the token opens it, and wraps the next one in a rotation."""
    assert deployed.run("ls", "/run/secrets") == "mongo_uri\npkcs11_pin"
    slot = json.loads(deployed.run("secret-manager", "keys", "custody", "check", "--json"))
    assert (slot["scheme"], slot["state"]) == ("pkcs11", "up")
    assert "0 left" in run("scripts/rotate_key.sh").stdout
    wait_for(lambda: is_healthy(2), what="two healthy replicas")
    assert docker("config", "ls", "-q", "--filter", "name=keyring_v")

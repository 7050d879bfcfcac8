"""Names of images, as Docker's client writes them into a service."""

import pytest

from vault.swarm.stacks.check import deployed


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("", ""),
        ("nginx", "nginx:latest"),
        ("nginx:1", "nginx:1"),
        ("docker.io/library/nginx:1", "nginx:1"),
        ("index.docker.io/library/nginx", "nginx:latest"),
        ("library/nginx", "nginx:latest"),
        ("docker.io/shop/api", "shop/api:latest"),
        ("docker.io/library/shop/api:1", "library/shop/api:1"),
        ("registry.example.com:5000/shop/api", "registry.example.com:5000/shop/api:latest"),
        ("registry.example.com/library/api:1", "registry.example.com/library/api:1"),
        ("nginx@sha256:0123", "nginx@sha256:0123"),
        ("docker.io/library/nginx:1@sha256:0123", "nginx:1@sha256:0123"),
    ],
)
def test_a_name_is_the_one_in_the_swarm(image: str, expected: str) -> None:
    """The default registry goes, and a name without a tag and a digest gets the default tag."""
    assert deployed(image) == expected

"""Names of images, as Docker has them in a service."""

_DEFAULT_REGISTRIES = ("index.docker.io/", "docker.io/")
_OFFICIAL = "library/"
_DEFAULT_TAG = ":latest"


def deployed(image: str) -> str:
    """Return the name that an *image* of a stack file has in the swarm, except for a digest that is added.

    As Docker's client does, it leaves out the default registry and adds the default tag.
    """
    for registry in _DEFAULT_REGISTRIES:
        image = image.removeprefix(registry)
    official = image.removeprefix(_OFFICIAL)
    if "/" not in official:
        image = official
    is_exact = "@" in image or ":" in image.rpartition("/")[2]
    return image if is_exact or not image else image + _DEFAULT_TAG

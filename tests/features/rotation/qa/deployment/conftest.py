"""The images of the deployment tests."""

from tests.qa.deployment.conftest import client_image, image

__all__ = ["client_image", "image"]

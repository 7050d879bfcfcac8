"""A steady mix: for each secret that is created, four are fetched."""

from locust import task
from secrets_user import SecretsUser


class SteadyMix(SecretsUser):
    """Everyday use."""

    @task(1)
    def write(self) -> None:
        """Create."""
        self.create()

    @task(4)
    def read(self) -> None:
        """Fetch."""
        self.fetch()

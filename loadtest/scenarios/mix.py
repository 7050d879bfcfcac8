"""A steady mix: four fetches for each create."""

from locust import task
from secrets_user import SecretsUser


class SteadyMix(SecretsUser):
    """A user with a steady mix of creates and fetches."""

    @task(1)
    def write(self) -> None:
        """Create a secret."""
        self.create()

    @task(4)
    def read(self) -> None:
        """Fetch a secret."""
        self.fetch()

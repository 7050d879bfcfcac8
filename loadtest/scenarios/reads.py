"""A read-heavy load, as when many applications start and fetch their secrets."""

from locust import task
from secrets_user import SecretsUser


class ReadHeavy(SecretsUser):
    """A user with 49 fetches for each create."""

    @task(1)
    def write(self) -> None:
        """Create a secret."""
        self.create()

    @task(49)
    def read(self) -> None:
        """Fetch a secret."""
        self.fetch()

"""Read-heavy: many applications that start and fetch what they need."""

from locust import task
from secrets_user import SecretsUser


class ReadHeavy(SecretsUser):
    """Forty-nine fetches for each create."""

    @task(1)
    def write(self) -> None:
        """Create."""
        self.create()

    @task(49)
    def read(self) -> None:
        """Fetch."""
        self.fetch()

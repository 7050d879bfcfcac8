"""A write-heavy load, such as an import."""

from locust import task
from secrets_user import SecretsUser


class WriteHeavy(SecretsUser):
    """A user with nine creates for each fetch."""

    @task(9)
    def write(self) -> None:
        """Create a secret."""
        self.create()

    @task(1)
    def read(self) -> None:
        """Fetch a secret."""
        self.fetch()

"""Write-heavy: an import."""

from locust import task
from secrets_user import SecretsUser


class WriteHeavy(SecretsUser):
    """Nine creates for each fetch."""

    @task(9)
    def write(self) -> None:
        """Create."""
        self.create()

    @task(1)
    def read(self) -> None:
        """Fetch."""
        self.fetch()

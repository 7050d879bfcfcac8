"""Applications that start: each fetches all of its secrets in one batch."""

from locust import task
from secrets_user import SecretsUser


class Starting(SecretsUser):
    """A user with 9 batches of fetches for each batch of creates."""

    @task(1)
    def write(self) -> None:
        """Create a batch of secrets."""
        self.create_batch()

    @task(9)
    def read(self) -> None:
        """Fetch a batch of secrets."""
        self.fetch_batch()

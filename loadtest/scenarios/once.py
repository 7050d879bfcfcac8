"""One-time secrets: only the first fetch succeeds."""

from locust import task
from secrets_user import SecretsUser


class OneTime(SecretsUser):
    """A user that hands over secrets, each exactly once."""

    @task
    def hand_over(self) -> None:
        """Create a secret, fetch it, and check that it is gone."""
        secret_id = self.create(max_reads=1, ttl_seconds=600)
        if secret_id:
            self.fetch(secret_id)
            del self.known[secret_id]
            self.fetch_nothing(secret_id)

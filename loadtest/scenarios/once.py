"""One-time secrets: the first fetch succeeds, no other does."""

from locust import task
from secrets_user import SecretsUser


class OneTime(SecretsUser):
    """Hands secrets over, each exactly once."""

    @task
    def hand_over(self) -> None:
        """Create, fetch, and see it gone."""
        secret_id = self.create(max_reads=1, ttl_seconds=600)
        if secret_id:
            self.fetch(secret_id)
            del self.known[secret_id]
            self.fetch_nothing(secret_id)

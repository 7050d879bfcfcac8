"""The metrics of webhooks."""

from vault.common.observability.metrics import counter, gauge

WEBHOOKS = gauge("webhooks", "Number of webhooks, by state.", ["state"])

_REQUESTS = counter("webhook_requests", "Requests to webhooks, by outcome.", ["outcome"])
DELIVERED = _REQUESTS.labels("delivered")
FAILED = _REQUESTS.labels("failed")

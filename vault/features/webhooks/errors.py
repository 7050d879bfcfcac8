"""Refusals about webhooks."""

from vault.common.errors.base import MissingError, Refusal, RefusedInputError


class WebhookNotFoundError(MissingError):
    """No webhook of the caller's namespace and paths has this ID."""

    message = "Webhook not found"
    refusal = Refusal(404, hint="run `secret-manager webhooks list` to see all IDs")


class WebhookAddressError(RefusedInputError):
    """The service may not connect to the host of a webhook; the message says why."""

    refusal = Refusal(
        422,
        "Webhook address not allowed",
        page=(
            "The host of the URL has only addresses in networks that are not public, or the URL is http:// "
            "and they are not of this machine. Operators allow such networks with WEBHOOK_NETWORKS, for the "
            "service and for the commands `secret-manager webhooks`."
        ),
    )

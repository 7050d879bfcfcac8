"""Delivery contexts: the task for which a driver fetches a secret, on record in the audit trail."""

from typing import Any

from marshmallow import fields, validate

from vault.common.errors import DeliveryRefusedError
from vault.common.text import ONE_LINE_PATTERN
from vault.core.attempt import Attempt
from vault.core.principal import Scope
from vault.core.secrets.requests import Reference
from vault.toolkit.document.fields import VISIBLE_PATTERN, Body, matches, not_blank, one_line, text_field
from vault.toolkit.operations.blueprint import current_attempt

#: The maximum length of an ID or a name. Docker's longest is a task's name, with up to 115 characters.
_MAX_LENGTH = 128
#: The longest reference to an image: a name of 255 characters, a tag of 128, and a SHA-512 digest.
_MAX_IMAGE_LENGTH = 255 + len(":") + 128 + len("@sha512:") + 128

_MAX_REFUSAL_LENGTH = 256

#: The name of a fetch's optional field for its context, and of the entry's detail that holds it.
_DELIVERY = "delivery"
#: The name of a context's optional field for the reason why it is refused.
_REFUSAL = "refusal"
#: The reason in the audit trail. Fixed, because refusals are counted by reason.
_REASON = "refused by the client"


def docker_text(
    description: str, example: str, *, max_length: int = _MAX_LENGTH, **options: Any
) -> fields.String:
    """Return the field for a name or an ID of Docker's."""
    return fields.String(
        validate=[
            validate.Length(1, max_length),
            matches(VISIBLE_PATTERN, "Must be visible ASCII characters, without spaces."),
        ],
        metadata={"description": description, "example": example, "pattern": VISIBLE_PATTERN},
        **options,
    )


class Delivery(Body):
    """The task for which a secret is fetched."""

    service = docker_text("The service's name.", "shop_api", required=True)
    service_id = docker_text("The service's ID.", "9mnpnzenvg8p8tdbtq4wvbkcz")
    task = docker_text("The task's name.", "shop_api.1.kzzqdtbrqefyh3pmblf5kv9m0")
    task_id = docker_text("The task's ID.", "kzzqdtbrqefyh3pmblf5kv9m0", required=True)
    node = docker_text("The ID of the node that runs the task.", "24ifsmvkjbyhk0r2pvfnmdxtb")
    image = docker_text(
        "The image that the task runs.", "registry.example.com/shop/api:1.4", max_length=_MAX_IMAGE_LENGTH
    )
    refusal = text_field(
        "The reason why you refuse this delivery, for the audit entry. Then no value is returned: the fetch "
        "is refused as `delivery_refused`.",
        "the policy does not name this service",
        shape={"pattern": ONE_LINE_PATTERN},
        validate=[validate.Length(1, _MAX_REFUSAL_LENGTH), one_line, not_blank],
    )


#: A context, for the document.
EXAMPLE = {name: field.metadata["example"] for name, field in Delivery().fields.items() if name != _REFUSAL}


def delivery_field() -> fields.Nested:
    """Return the field for the delivery context of a fetch."""
    return fields.Nested(
        Delivery,
        metadata={
            "description": "The task for which you fetch the secret, for the audit entry. This requires the "
            f"scope `{Scope.SECRET_DELIVER}`."
        },
    )


def record(reference: dict[str, Any], attempt: Attempt) -> None:
    """Move the delivery context of *reference*, if it has one, to the details of *attempt*.

    Call it for each item of a request before anything is read. Without the scope, the whole request is
    refused, and its entry has no context: only trusted callers decide what the trail stores.

    Raises:
        CredentialRequiredError: The caller lacks the scope, and sent no credential.
        ScopeMissingError: The principal lacks the scope.
    """
    if (delivery := reference.pop(_DELIVERY, None)) is not None:
        current_attempt().require(Scope.SECRET_DELIVER)
        attempt.details[_DELIVERY] = delivery


def require_wanted(reference: Reference, attempt: Attempt) -> None:
    """Require that the recorded context of *attempt*, if it has one, does not refuse the delivery.

    Raises:
        DeliveryRefusedError: It does; the secret is on record.
        SecretNotFoundError: It does, and the principal cannot reach the secret.
    """
    if _REFUSAL in attempt.details.get(_DELIVERY, {}):
        reference.admit(attempt)
        attempt.details["reason"] = _REASON
        raise DeliveryRefusedError

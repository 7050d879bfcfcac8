"""Docker's requests, and the labels of secrets."""

import pytest

from tests.clients.swarm.docker import CONTEXT, asked
from vault.clients.delivery.outcomes import InvalidRequestError
from vault.clients.delivery.selection import DeliveryRequest, Encoding, Reference, Selection

ID = "550e8400-e29b-41d4-a716-446655440000"


def selected(**labels: str) -> Selection:
    return DeliveryRequest(asked(labels)).selection()


def refused(body: bytes) -> str:
    with pytest.raises(InvalidRequestError) as refusal:
        DeliveryRequest(body).selection()
    return str(refusal.value)


def test_a_request_names_its_task() -> None:
    """The delivery context has service, task, node and image, and the log the name of Docker's secret."""
    task = DeliveryRequest(asked()).task
    assert task.context() == CONTEXT
    assert task.secret == "shop_db_password"


def test_what_docker_does_not_send_is_left_out() -> None:
    """The delivery context has no empty fields."""
    task = DeliveryRequest(b'{"ServiceName": "web", "TaskID": "t", "NodeID": null}').task
    assert task.context() == {"service": "web", "task_id": "t"}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not a JSON object"),
        (b"{", "not a JSON object"),
        (b"\xff", "not a JSON object"),
        (b"[" * 100_000, "not a JSON object"),
        (b"[]", "not a JSON object"),
        (asked(ServiceName=None), "no valid ServiceName"),
        (asked(ServiceName="a b"), "no valid ServiceName"),
        (asked(TaskID=""), "no valid TaskID"),
        (asked(TaskID=7), "no valid TaskID"),
        (asked(NodeID=["n"]), "no valid NodeID"),
        (asked(TaskName="a" * 129), "no valid TaskName"),
        (asked(TaskImage="a" * 521), "no valid TaskImage"),
        (asked(SecretLabels=["a"]), "SecretLabels"),
        (asked(SecretLabels={"a": 1}), "SecretLabels"),
    ],
)
def test_a_malformed_request_is_refused(body: bytes, reason: str) -> None:
    """A request in another form than Docker's is refused, before it can fail the batch of other tasks."""
    assert reason in refused(body)


def test_labels_select_a_secret_by_name() -> None:
    """With a name only, the whole newest value is selected, for every service and image."""
    selection = selected(name="billing/db-password")
    assert selection.reference == Reference(name="billing/db-password")
    assert selection.reference.body() == {"name": "billing/db-password"}
    assert (selection.field, selection.encoding) == ("", Encoding.TEXT)
    assert selection.services.match("any")
    assert selection.images.match("any")


def test_labels_select_a_version_by_id() -> None:
    """An ID and a version select that version; the ID is in no representation of the object."""
    selection = selected(id=ID.upper(), version="3", field="password", encoding="base64")
    assert selection.reference.body() == {"secret_id": ID, "version": 3}
    assert (selection.field, selection.encoding) == ("password", Encoding.BASE64)
    assert ID not in repr(selection)


def test_other_labels_are_ignored() -> None:
    """A secret can have labels of others."""
    body = asked(SecretLabels={"com.docker.stack.namespace": "shop", "secret-manager.name": "a"})
    assert DeliveryRequest(body).selection().reference == Reference(name="a")


@pytest.mark.promise("swarm")
@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ({}, "one of the labels"),
        ({"name": "", "id": ""}, "one of the labels"),
        ({"name": "a", "id": ID}, "one of the labels"),
        ({"name": "billing/"}, "secret-manager.name must be"),
        (
            {"name": "a*"},
            "secret-manager.name must be a name such as billing/db-password, which must not contain *",
        ),
        ({"id": "550e8400"}, "secret-manager.id must be"),
        ({"id": ID.replace("-", "")}, "secret-manager.id must be"),
        ({"name": "a", "version": "0"}, "secret-manager.version must be"),
        ({"name": "a", "version": "newest"}, "secret-manager.version must be"),
        ({"name": "a", "version": "2147483648"}, "secret-manager.version must be"),
        ({"name": "a", "encoding": "hex"}, "secret-manager.encoding must be text or base64"),
        ({"name": "a", "services": ""}, "secret-manager.services must be"),
        ({"name": "a", "services": "web,"}, "secret-manager.services must be"),
        ({"name": "a", "images": "*/api"}, "secret-manager.images must be"),
        ({"name": "a", "service": "web"}, "unknown label secret-manager.service"),
    ],
)
def test_an_invalid_label_is_refused(labels: dict[str, str], reason: str) -> None:
    """A mistake in a label is refused with its reason; a mistyped policy allows nothing."""
    assert reason in refused(asked(labels))

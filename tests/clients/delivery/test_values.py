"""The content of a task's file."""

from base64 import b64encode

import pytest

from tests.clients.swarm.docker import asked
from vault.clients.delivery.outcomes import UnsuitableValueError
from vault.clients.delivery.selection import DeliveryRequest
from vault.clients.delivery.values import MAX_BYTES, content


def of(value: bytes, **labels: str) -> bytes:
    return content(value, DeliveryRequest(asked({"name": "a", **labels})).selection())


@pytest.mark.parametrize("value", [b"a", b"\x00\xff\n", b"a" * MAX_BYTES])
def test_the_value_is_delivered_as_it_is(value: bytes) -> None:
    """Without further labels, the file has the bytes of the value, up to Docker's limit."""
    assert of(value) == value


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b'{"a": "text"}', "text"),
        (b'{"a": "\\u00e9 \\n"}', "é \n"),
        (b'{"a": 1.5}', "1.5"),
        (b'{"a": 123456789012345678901234567890}', "123456789012345678901234567890"),
        (b'{"a": null}', "null"),
        (b'{"a": [1, {"b": "\xc3\xa9"}]}', '[1,{"b":"é"}]'),
    ],
)
def test_a_field_is_delivered(value: bytes, found: str) -> None:
    """A field with a text is that text; any other field is JSON."""
    assert of(value, field="a") == found.encode()


def test_base64_is_decoded() -> None:
    """A value, or a field, that is base64 is delivered as the bytes that it encodes."""
    encoded = b64encode(b"\x00\x01\xff")
    assert of(encoded, encoding="base64") == b"\x00\x01\xff"
    assert of(encoded + b"\n", encoding="base64") == b"\x00\x01\xff"
    assert of(b'{"a": "%s"}' % encoded, encoding="base64", field="a") == b"\x00\x01\xff"


@pytest.mark.parametrize(
    ("value", "labels", "reason"),
    [
        (b"a" * (MAX_BYTES + 1), {}, "Docker takes 1 to 511999 bytes, and the value has 512000"),
        (b'{"a": ""}', {"field": "a"}, "the value has 0"),
        (b"hush", {"field": "a"}, "not JSON"),
        (b"\xff", {"field": "a"}, "not JSON"),
        (b"[" * 100_000, {"field": "a"}, "not JSON"),
        (b'{"a": NaN}', {"field": "a"}, "not JSON"),
        (b'{"a": "\\ud800"}', {"field": "a"}, "not JSON"),
        (b'["hush"]', {"field": "a"}, "not a JSON object"),
        (b'{"b": "hush"}', {"field": "a"}, "has no field a"),
        (b"hush!", {"encoding": "base64"}, "not base64"),
        (b"\xff", {"encoding": "base64"}, "not base64"),
    ],
)
def test_an_unsuitable_value_is_refused(value: bytes, labels: dict[str, str], reason: str) -> None:
    """A value that Docker does not take, or that does not fit the labels, is refused without being quoted."""
    with pytest.raises(UnsuitableValueError, match=reason) as refusal:
        of(value, **labels)
    assert "hush" not in str(refusal.value)

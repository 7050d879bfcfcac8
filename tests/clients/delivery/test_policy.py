"""The policy of labels, and the operator's table."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.clients.swarm.docker import asked
from vault.clients.delivery import policy
from vault.clients.delivery.outcomes import ForbiddenError
from vault.clients.delivery.policy import PolicyFile
from vault.clients.delivery.selection import DeliveryRequest, Reference, Task

ID = "550e8400-e29b-41d4-a716-446655440000"
TASK = DeliveryRequest(asked()).task

TABLE = f"""
[services]
web = ["billing/db-password", "shared/"]
"shop_*" = ["shop/", "{ID}"]
"""


def of(service: str) -> Task:
    return replace(TASK, service=service)


def is_allowed(table: PolicyFile, service: str, **reference: Any) -> bool:
    try:
        table.require(Reference(**reference), of(service))
    except ForbiddenError:
        return False
    return True


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a file with a policy."""
    path = tmp_path / "policy.toml"
    path.write_text(TABLE)
    return path


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ({}, ""),
        ({"services": "shop_api"}, ""),
        ({"services": "web, shop_api"}, ""),
        ({"services": "shop_*"}, ""),
        ({"services": "*"}, ""),
        ({"services": "shop"}, "does not name the service shop_api"),
        ({"services": "shop_api_2,shop_b*"}, "does not name the service shop_api"),
        ({"images": "registry.example.com/shop/api:1.4@sha256:0123456789abcdef"}, ""),
        ({"images": "registry.example.com/shop/api:1.4"}, ""),
        ({"images": "registry.example.com/shop/*"}, ""),
        ({"images": "registry.example.com/shop/api"}, "does not name the image"),
        ({"images": "registry.example.com/shop/api:1.4@sha256:fedcba9876543210"}, "does not name the image"),
    ],
)
def test_labels_limit_services_and_images(labels: dict[str, str], reason: str) -> None:
    """The labels name services and images, whole or up to a `*`; an image also without its digest."""
    request = DeliveryRequest(asked({"name": "a", **labels}))
    if not reason:
        policy.require_labels(request.selection(), request.task)
        return
    with pytest.raises(ForbiddenError, match=reason):
        policy.require_labels(request.selection(), request.task)


@pytest.mark.promise("swarm")
@pytest.mark.parametrize("suffix", ["toml", "json"])
def test_the_table_allows_what_it_names(tmp_path: Path, suffix: str) -> None:
    """A table in TOML or JSON allows names, prefixes and IDs to services, and nothing else."""
    path = tmp_path / f"policy.{suffix}"
    services = {"web": ["billing/db-password", "shared/"], "shop_*": ["shop/", ID]}
    path.write_text(TABLE if suffix == "toml" else json.dumps({"services": services}))
    table = PolicyFile(path)
    assert is_allowed(table, "web", name="billing/db-password")
    assert is_allowed(table, "web", name="shared/db")
    assert is_allowed(table, "shop_api", name="shop/db")
    assert is_allowed(table, "shop_api", secret_id=ID)
    assert not is_allowed(table, "web", name="billing/api-key")
    assert not is_allowed(table, "web", name="billing/db-password/2")
    assert not is_allowed(table, "web", name="shared")
    assert not is_allowed(table, "web", secret_id=ID)
    assert not is_allowed(table, "web2", name="shared/db")
    assert not is_allowed(table, "shop", name="shop/db")


def test_a_refusal_names_the_service(file: Path) -> None:
    """The reason names the service; log and trail have the rest of the request."""
    with pytest.raises(ForbiddenError, match="does not allow this secret to the service web"):
        PolicyFile(file).require(Reference(name="a"), of("web"))


def test_a_changed_table_takes_effect_at_once(file: Path) -> None:
    """The next request is decided by the changed file; if it is unusable, nothing is allowed."""
    table = PolicyFile(file)
    assert not is_allowed(table, "web", name="new")
    file.write_text(TABLE.replace("shared/", "new"))
    assert is_allowed(table, "web", name="new")
    file.write_text("[services")
    assert not is_allowed(table, "web", name="new")
    file.unlink()
    assert not is_allowed(table, "web", name="new")
    file.write_text(TABLE)
    assert is_allowed(table, "web", name="shared/db")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", 'must have a table "services"'),
        ("[service]\nweb = ['a']", 'must have a table "services"'),
        ("services = 1", 'must have a table "services"'),
        ("[services]\nweb = ['a']\n[images]", 'must have a table "services"'),
        ("[services]\nweb = 'a'", "lists of names"),
        ("[services]\nweb = []", "lists of names"),
        ("[services]\nweb = [1]", "neither a name nor a prefix"),
        ("[services]\nweb = ['/a']", "neither a name nor a prefix"),
        ("[services]\n'*web' = ['a']", r"'\*web' must be a service"),
        ("[services]\nweb = ['a'", "TOMLDecodeError"),
    ],
)
def test_an_invalid_table_is_refused(file: Path, text: str, reason: str) -> None:
    """A table that says something else than its author may think is refused as a whole."""
    file.write_text(text)
    with pytest.raises(ForbiddenError, match=reason):
        PolicyFile(file)


def test_a_table_that_is_not_text_is_refused(tmp_path: Path) -> None:
    """A file in another encoding, or nested too deeply, is refused."""
    path = tmp_path / "policy.json"
    for content in (b"\xff", b"[" * 100_000, b"[]"):
        path.write_bytes(content)
        with pytest.raises(ForbiddenError, match=r"the policy policy\.json cannot be used"):
            PolicyFile(path)

"""Fixtures of the tests of events."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask

from tests.conftest import running_app
from tests.features.webhooks.receiver import Receiver, receiver
from tests.support.access import services
from tests.support.access_roles import operator
from vault.common.paths import Paths
from vault.core.attempt import Action, Attempt
from vault.core.principal import OPERATOR, Principal
from vault.features.webhooks.kinds import kinds
from vault.features.webhooks.sender import Sender
from vault.features.webhooks.webhooks import NewWebhook, Webhooks

ALL = frozenset(kinds())


@pytest.fixture
def app(environment: dict[str, str]) -> Iterator[Flask]:
    """Return an application that may send webhooks to this machine."""
    with running_app(environment | {"WEBHOOK_NETWORKS": "127.0.0.0/8"}) as app:
        services(app).startup.attempt()
        yield app


@pytest.fixture
def hook() -> Iterator[Receiver]:
    """Run a receiver."""
    with receiver() as running:
        yield running


Subscribe = Callable[..., str]


@pytest.fixture
def subscribe(app: Flask, hook: Receiver) -> Subscribe:
    """Return the function that creates a webhook for the receiver, and returns its ID."""

    def create(*chosen: str, url: str = "", principal: Principal = OPERATOR, **options: Any) -> str:
        paths = Paths.of(options.pop("paths", ()))
        new = NewWebhook(url=url or hook.url, events=frozenset(chosen or ALL), paths=paths, **options)
        attempt = Attempt(action=Action.WEBHOOK_CREATE, principal=principal)
        created = services(app).of(Webhooks).create(new, attempt=attempt)
        if not url:
            hook.secret = created.secret
        return created.webhook_id

    return create


@pytest.fixture
def sender(app: Flask) -> Iterator[Sender]:
    """Return a sender, which `turn` makes act."""
    found = new_sender(app)
    yield found
    found.close()


def new_sender(app: Flask, holder: str = "one") -> Sender:
    """Return a sender of *app* that has not started its own thread."""
    webhooks = services(app).of(Webhooks)
    found = Sender(webhooks._keys, webhooks._networks, services(app).startup._database.ping)
    found._holder = holder
    return found


def turn(sender: Sender) -> None:
    """Make *sender* act once, and wait for the end of all it began."""
    sender.act()
    for thread in sender._threads.values():
        thread.join(120)
        assert not thread.is_alive()


def info(app: Flask, webhook_id: str) -> Any:
    """Return the public fields of a webhook."""
    infos = services(app).of(Webhooks).list(attempt=operator(Action.WEBHOOK_LIST))
    [found] = [one for one in infos if one.webhook_id == webhook_id]
    return found

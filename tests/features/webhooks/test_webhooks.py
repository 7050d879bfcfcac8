"""Webhooks: created, listed, tested and deleted, within the rights of their creators."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId
from flask import Flask

from tests.features.webhooks.conftest import Subscribe, info
from tests.features.webhooks.receiver import Receiver
from tests.support.access import make_token, services
from tests.support.access_roles import operator
from tests.support.rotation import Stored
from tests.support.trail import block_trail
from vault.common.errors import AuditUnavailableError, GrantRefusedError, LimitReachedError
from vault.common.paths import Paths
from vault.core.attempt import Action, Attempt
from vault.core.principal import Principal, Scope
from vault.features.webhooks import webhooks as module
from vault.features.webhooks.errors import WebhookNotFoundError
from vault.features.webhooks.webhooks import WebhookInfo, Webhooks

MANAGER = Principal(
    name="team-a/boss",
    namespace="team-a",
    scopes=frozenset({Scope.WEBHOOK_MANAGE}),
    paths=Paths.of(["billing/", "shared/db"]),
)


def by(principal: Principal, action: Action) -> Attempt:
    return Attempt(action=action, principal=principal)


def listed(app: Flask, principal: Principal) -> list[str]:
    infos = services(app).of(Webhooks).list(attempt=by(principal, Action.WEBHOOK_LIST))
    return [one.webhook_id for one in infos]


def test_a_webhook_is_created_listed_tested_and_deleted(
    app: Flask, subscribe: Subscribe, hook: Receiver, stored: Stored
) -> None:
    """A webhook is listed with everything but its secret, and each step is on record without its URL."""
    webhook_id = subscribe("secret.updated", principal=MANAGER)
    found = info(app, webhook_id)
    assert found.created_at
    assert replace(found, created_at=None) == WebhookInfo(
        webhook_id=webhook_id,
        state="active",
        url=hook.url,
        events=("secret.updated",),
        namespace="team-a",
        paths=("billing/", "shared/db"),
        created_by="boss",
    )
    found_by = services(app).of(Webhooks)
    assert found_by.test(webhook_id, attempt=by(MANAGER, Action.WEBHOOK_TEST))() == ""
    [(_, event)] = hook.events
    assert (event["type"], event["data"]) == ("webhook.test", {"webhook_id": webhook_id})
    hook.answer = lambda _: 503
    error = found_by.test(webhook_id, attempt=by(MANAGER, Action.WEBHOOK_TEST))()
    assert error == "it answers with status 503"
    found_by.delete(webhook_id, attempt=by(MANAGER, Action.WEBHOOK_DELETE))
    assert listed(app, MANAGER) == []
    entries = list(stored.audit_logs.find({"action": {"$regex": "^webhook_"}}).sort("_id"))
    assert {entry["action"] for entry in entries} == {
        *("webhook_create", "webhook_list", "webhook_test", "webhook_delete")
    }
    assert entries[0]["details"] == {
        "webhook_id": webhook_id,
        "host": "127.0.0.1",
        "namespace": "team-a",
        "paths": ["billing/", "shared/db"],
        "events": ["secret.updated"],
    }


def test_the_secret_is_stored_nowhere(subscribe: Subscribe, hook: Receiver, stored: Stored) -> None:
    """The signing secret follows from the token key, so that no document contains it."""
    subscribe("secret.updated")
    assert len(hook.secret) == len("whsec_") + 44
    assert hook.secret not in str([*stored.webhooks.find(), *stored.audit_logs.find()])


def test_a_webhook_cannot_have_more_than_its_creator(app: Flask, subscribe: Subscribe) -> None:
    """Paths outside the creator's are refused; the creator's own are the default."""
    for paths in (["other/"], ["billing/", "other"]):
        with pytest.raises(GrantRefusedError):
            subscribe("secret.updated", principal=MANAGER, paths=paths)
    inside = subscribe("secret.updated", principal=MANAGER, paths=["billing/eu/"])
    assert info(app, inside).paths == ("billing/eu/",)


def test_a_foreign_webhook_is_not_found(app: Flask, subscribe: Subscribe) -> None:
    """Webhooks of other namespaces, and with paths outside one's own, do not exist for a principal."""
    own = subscribe("secret.updated", principal=MANAGER)
    foreign = [
        subscribe("secret.updated"),
        subscribe("secret.updated", principal=replace(MANAGER, paths=Paths.of(["other/"]))),
        subscribe("secret.updated", principal=replace(MANAGER, paths=Paths())),
    ]
    assert listed(app, MANAGER) == [own]
    webhooks = services(app).of(Webhooks)
    for webhook_id in (*foreign, "0" * 16):
        for action in (webhooks.delete, webhooks.test):
            with pytest.raises(WebhookNotFoundError):
                action(webhook_id, attempt=by(MANAGER, Action.WEBHOOK_TEST))
    assert len(listed(app, operator(Action.WEBHOOK_LIST).principal)) == 4


def test_a_host_may_get_its_address_later(app: Flask, subscribe: Subscribe) -> None:
    """A host without an address is accepted, and looked up for each request."""
    webhook_id = subscribe("secret.updated", url="https://no-such-host.invalid/")
    error = services(app).of(Webhooks).test(webhook_id, attempt=operator(Action.WEBHOOK_TEST))()
    assert error == "its host has no address"


def test_there_is_a_limit(subscribe: Subscribe, monkeypatch: pytest.MonkeyPatch) -> None:
    """There are at most so many webhooks, because each reads the trail; one namespace has fewer."""
    monkeypatch.setattr(module, "MAX_WEBHOOKS", 3)
    monkeypatch.setattr(module, "MAX_IN_NAMESPACE", 2)
    first, other = MANAGER, replace(MANAGER, name="team-b/boss", namespace="team-b")
    for _ in range(2):
        subscribe("secret.updated", principal=first)
    with pytest.raises(LimitReachedError):
        subscribe("secret.updated", principal=first)
    subscribe("secret.updated", principal=other)
    with pytest.raises(LimitReachedError):
        subscribe("secret.updated", principal=other)


def test_simultaneous_creations_do_not_exceed_the_limit(
    app: Flask, subscribe: Subscribe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of webhooks that are created at the same time, no more stay than there can be."""
    monkeypatch.setattr(module, "MAX_IN_NAMESPACE", 1)
    read = module.read

    def meanwhile(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(module, "read", read)
        subscribe("secret.updated", principal=MANAGER)
        return read(*arguments, **options)

    monkeypatch.setattr(module, "read", meanwhile)
    with pytest.raises(LimitReachedError):
        subscribe("secret.updated", principal=MANAGER)
    assert len(listed(app, MANAGER)) == 1


def test_a_new_webhook_reads_no_old_entries(subscribe: Subscribe, stored: Stored) -> None:
    """However large the trail is, and rare its kinds are, a webhook is created at once."""
    old = [
        {"_id": ObjectId((10**9).to_bytes(4) + seq.to_bytes(8)), "stream": "old", "seq": seq}
        for seq in range(100)
    ]
    stored.audit_logs.insert_many(old)
    stored.command("profile", 2)
    subscribe("key.recovered")
    stored.command("profile", 0)
    reads = list(stored["system.profile"].find({"command.find": "audit_logs"}))
    stored["system.profile"].drop()
    assert reads
    assert all(read["docsExamined"] < len(old) for read in reads)


def test_without_an_entry_there_is_no_webhook(subscribe: Subscribe, stored: Stored) -> None:
    """If its entry cannot be written, a webhook is not created."""
    block_trail(stored)
    with pytest.raises(AuditUnavailableError):
        subscribe("secret.updated")
    assert stored.webhooks.count_documents({}) == 0


@pytest.mark.parametrize(
    "change",
    [
        {"$set": {"url": "https://attacker.example/"}},
        {"$set": {"paths": []}},
        {"$set": {"namespace": "team-b"}},
        {"$push": {"events": "secret.created"}},
        {"$set": {"expires_at": None, "created_by": "other"}},
    ],
    ids=str,
)
def test_an_altered_webhook_sends_nothing(
    app: Flask, subscribe: Subscribe, stored: Stored, change: dict[str, Any]
) -> None:
    """Write access to the database is not enough to redirect or widen a webhook; it can still be deleted."""
    webhook_id = subscribe("secret.updated", principal=replace(MANAGER, paths=Paths.of(["a/"])))
    stored.webhooks.update_one({"_id": webhook_id}, change)
    assert info(app, webhook_id) == WebhookInfo(webhook_id=webhook_id, state="altered")
    webhooks = services(app).of(Webhooks)
    with pytest.raises(WebhookNotFoundError):
        webhooks.test(webhook_id, attempt=operator(Action.WEBHOOK_TEST))
    unlimited = replace(MANAGER, paths=Paths(), namespace=stored.webhooks.find_one({})["namespace"])
    webhooks.delete(webhook_id, attempt=by(unlimited, Action.WEBHOOK_DELETE))
    assert stored.webhooks.count_documents({}) == 0


def test_a_webhook_does_not_outlast_its_creator(app: Flask, subscribe: Subscribe, stored: Stored) -> None:
    """A webhook ends with its creator's credential, and is deleted when that is revoked with all it made."""
    until = datetime.now(UTC) + timedelta(hours=1)
    webhook_id = subscribe("secret.updated", principal=replace(MANAGER, expires_at=until))
    assert info(app, webhook_id).state == "active"
    past = subscribe("secret.updated", principal=replace(MANAGER, expires_at=until - timedelta(hours=2)))
    assert info(app, past).state == "expired"
    make_token(app, "boss", role="admin", namespace="team-a")
    services(app).tokens.revoke(
        "boss", namespace="team-a", cascade=True, attempt=operator(Action.TOKEN_REVOKE)
    )
    assert stored.webhooks.count_documents({}) == 0
    assert stored.audit_logs.count_documents({"action": "webhook_delete"}) == 2


def test_a_deleted_webhook_cannot_be_replayed(
    app: Flask, subscribe: Subscribe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A webhook that is deleted during a replay stays deleted."""
    webhook_id = subscribe("secret.updated")
    webhooks = services(app).of(Webhooks)
    genuine = Webhooks._genuine

    def delete_after(self: Webhooks, identifier: str, attempt: Attempt) -> Any:
        found = genuine(self, identifier, attempt)
        self.delete(identifier, attempt=operator(Action.WEBHOOK_DELETE))
        return found

    monkeypatch.setattr(Webhooks, "_genuine", delete_after)
    with pytest.raises(WebhookNotFoundError):
        webhooks.replay(webhook_id, datetime.now(UTC), attempt=operator(Action.WEBHOOK_REPLAY))

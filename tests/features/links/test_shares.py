"""Shares: a value that one person opens, once, by the token in a link."""

import gc
import json
import os
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest
from flask import Flask

from tests.features.links.conftest import Sender
from tests.support.access import services
from tests.support.features import requires
from tests.support.lifecycle import in_past, trail
from tests.support.rotation import Stored
from tests.support.trail import block_trail, restore_trail
from tests.support.waiting import wait_until
from vault.common.errors import OverloadedError
from vault.common.turns import Turns
from vault.core.attempt import Action, Attempt
from vault.core.crypto import MasterKey
from vault.core.crypto.audit_chain import SigningKey
from vault.core.principal import OPERATOR, UNAUTHENTICATED
from vault.core.secrets import wrapping
from vault.core.secrets.wrapping import WrappingToken
from vault.core.trail import receipts
from vault.features.links import tries
from vault.features.links.errors import InvalidLinkError, WrongPassphraseError
from vault.features.links.shares import Share, Shares
from vault.toolkit.http import memory, rate_limits
from vault.toolkit.operations.blueprint import REPLY_MEMORY

NAME = "team/db"
VALUE = b64encode("päss\0word".encode()).decode()


@pytest.fixture(autouse=True)
def _no_limit(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Count failures without a limit: all tests have one address."""
    monkeypatch.setattr(app.extensions["secret-manager-limits"].counters.failure, "limits", [])


@pytest.fixture
def secret(alice: Sender) -> str:
    """Return the ID of a secret of Alice's."""
    return str(alice.ask("secret/create", {"name": NAME, "secret": VALUE}).json["secret_id"])


@pytest.mark.usefixtures("secret")
def test_a_share_opens_once(alice: Sender, stored: Stored) -> None:
    """Looks spend nothing; the first to open it gets the value, and everyone after that a refusal."""
    made = alice.ask("secret/share", {"name": NAME, "ttl_seconds": 60}).json
    assert made.keys() == {"token", "expires_at"}
    token = {"token": made["token"]}
    for _ in range(3):
        described = alice.open("share/describe", token).json
        assert described == {"shared_by": "alice", "expires_at": made["expires_at"], "has_passphrase": False}
    assert alice.open("share/open", token).json == {"secret": VALUE}
    for operation in ("share/open", "share/describe"):
        assert alice.open(operation, token, 404).json["code"] == "invalid_link"
    entries = {entry["action"]: entry for entry in trail(stored) if entry["status"] == "success"}
    shared, opened = entries["fetch"], entries["unwrap"]
    assert (shared["principal"], opened["principal"]) == ("alice", "anonymous")
    about = {"share": True, "name": NAME, "namespace": "default"}
    assert about.items() <= shared["details"].items()
    assert {**about, "version": 1, "shared_by": "alice"}.items() <= opened["details"].items()
    assert shared["details"]["accessor"] == opened["secret_id"]
    assert made["token"] not in json.dumps(trail(stored), default=str)


def test_what_can_be_shared(alice: Sender, secret: str) -> None:
    """A secret by its ID, and a value that is stored nowhere; not what is missing or outside the paths."""
    assert alice.open("share/open", {"token": alice.share(secret_id=secret)}).json == {"secret": VALUE}
    assert alice.open("share/open", {"token": alice.share(secret="YQ==")}).json == {"secret": "YQ=="}
    for name in ("elsewhere/db", "team/missing"):
        assert alice.ask("secret/share", {"name": name}, 404).json["code"] == "secret_not_found"
    for body in ({}, {"name": NAME, "secret": "YQ=="}, {"name": NAME, "secret_id": secret}):
        alice.ask("secret/share", body, 422)
    too_long = {"secret": "YQ==", "ttl_seconds": 30 * 86_400 + 1}
    alice.ask("secret/share", too_long, 422)
    alice.ask("secret/share", {"secret": "YQ==", "passphrase": "two\nlines"}, 422)
    alice.ask("secret/share", {"secret": b64encode(bytes(65_537)).decode()}, 413)


def test_a_value_is_shared_by_those_who_may_create(app: Flask, secret: str) -> None:
    """A value of the sender's own takes the same right as a new secret; a secret, the right to fetch it."""
    reader = Sender(app, "reader", scopes=("secret:fetch",), paths=("team/",))
    reader.share(secret_id=secret)
    assert reader.ask("secret/share", {"secret": VALUE}, 403).json["code"] == "scope_missing"


@pytest.mark.usefixtures("secret")
def test_a_wrong_passphrase_does_not_spend_a_share(alice: Sender, stored: Stored) -> None:
    """Four wrong ones are refused, each with its entry; the right one opens it."""
    token = alice.share(name=NAME, passphrase="corréct")
    assert alice.open("share/describe", {"token": token}).json["has_passphrase"]
    for passphrase in ("wrong", "Corréct", "corréct ", "correct"):
        body = {"token": token, "passphrase": passphrase}
        assert alice.open("share/open", body, 403).json["code"] == "wrong_passphrase"
    for _ in range(6):
        alice.open("share/open", {"token": token}, 403)
    # In the other form of é.
    assert alice.open("share/open", {"token": token, "passphrase": "corre\u0301ct"}).json["secret"] == VALUE
    tries = [entry["details"]["try"] for entry in trail(stored) if "try" in entry["details"]]
    assert tries == [1, 2, 3, 4]
    [document] = [one for one in stored.secrets.find() if one["namespace"] == "service:sharing"]
    assert document["reads"] == 1


@pytest.mark.promise("rotation")
def test_the_fifth_wrong_passphrase_spends_a_share(alice: Sender, stored: Stored) -> None:
    """After it, the right one is refused, and nothing is left of the value."""
    token = alice.share(secret=VALUE, passphrase="right")
    for _ in range(5):
        alice.open("share/open", {"token": token, "passphrase": "wrong"}, 403)
    alice.open("share/open", {"token": token, "passphrase": "right"}, 404)
    assert stored.secrets.count_documents({}) == 0


@pytest.mark.promise("rotation")
@pytest.mark.parametrize("passphrase", ["", "right"])
def test_of_many_at_once_one_opens(app: Flask, alice: Sender, passphrase: str) -> None:
    """Of 50 who open a share at the same time, exactly one gets the value."""
    secured = {"passphrase": passphrase} if passphrase else {}
    token, shares = alice.share(secret=VALUE, **secured), services(app).of(Shares)

    def opened(_: int) -> bytes | None:
        try:
            return shares.open(token, passphrase, attempt=Attempt(action=Action.UNWRAP))
        except InvalidLinkError:
            return None

    with ThreadPoolExecutor(50) as pool:
        got = list(filter(None, pool.map(opened, range(50))))
    # With a passphrase, those beyond five get no try; none opens it twice.
    assert got == ["päss\0word".encode()]


def test_of_many_guesses_at_once_five_are_tried(
    app: Flask, alice: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many guess at the same time, five passphrases are compared, and then the share is spent."""
    token, shares = alice.share(secret=VALUE, passphrase="right"), services(app).of(Shares)
    compared: list[str] = []
    cipher = shares._cipher

    def counted(passphrase: str, *others: Any) -> Any:
        compared.append(passphrase)
        return cipher(passphrase, *others)

    monkeypatch.setattr(shares, "_cipher", counted)

    def guess(number: int) -> str:
        try:
            shares.open(token, f"guess {number}", attempt=Attempt(action=Action.UNWRAP))
        except (InvalidLinkError, WrongPassphraseError) as error:
            return error.kind
        return "opened"

    with ThreadPoolExecutor(20) as pool:
        outcomes = Counter(pool.map(guess, range(20)))
    assert outcomes == {"wrong_passphrase": 5, "invalid_link": 15}
    assert len(compared) == 5


def test_a_check_that_does_not_begin_uses_up_no_try(
    app: Flask, alice: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While too many passphrases are checked, a further one is refused, and none of its tries is lost."""
    token, shares = alice.share(secret=VALUE, passphrase="right"), services(app).of(Shares)
    body = {"token": token, "passphrase": "right"}
    with monkeypatch.context() as patch:
        patch.setattr(shares._checks, "seconds", 0.001)
        with shares._checks:
            for _ in range(6):
                assert alice.open("share/open", body, 503).json["code"] == "overloaded"
    assert alice.open("share/open", body).json == {"secret": VALUE}


def test_sharing_reads_nothing_while_too_many_passphrases_are_checked(
    app: Flask, alice: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refusal comes before the read, so a secret that can be read once still can be.

    For a secret that is not there, no passphrase takes the time of those who open theirs.
    """
    alice.ask("secret/create", {"name": NAME, "secret": VALUE, "max_reads": 1})
    with monkeypatch.context() as patch:
        checks = services(app).of(Shares)._checks
        patch.setattr(checks, "seconds", 0.001)
        with checks:
            alice.ask("secret/share", {"name": NAME, "passphrase": "right"}, 503)
            alice.ask("secret/share", {"name": "team/missing", "passphrase": "right"}, 404)
    assert alice.ask("secret/fetch", {"name": NAME}).json == {"secret": VALUE}


def test_one_address_leaves_checks_of_passphrases_to_others() -> None:
    """However many passphrases one address sends, it has a third of the checks, and others get theirs."""
    turns, checked = Turns(6, seconds=60), list[str]()

    def check(address: str) -> None:
        with turns.of(address):
            checked.append(address)

    with ThreadPoolExecutor(3) as pool:
        with turns.of("192.0.2.1"):
            waits = [pool.submit(check, address) for address in ("192.0.2.1", "192.0.2.2", "192.0.2.2")]
            wait_until(lambda: turns._of_sources.total() == 4)
            for address in ("192.0.2.1", "192.0.2.2"):
                with pytest.raises(OverloadedError):
                    check(address)
        for wait in waits:
            wait.result()
    assert sorted(checked) == ["192.0.2.1", "192.0.2.2", "192.0.2.2"]
    assert not turns._of_sources


def test_few_wait_for_the_check_of_a_passphrase() -> None:
    """Those beyond are refused at once, so a flood of passphrases does not take the slots of all others."""
    turns, refused = Turns(5, seconds=60), Event()

    def check(_: int) -> str:
        try:
            with turns:
                return "checked"
        except OverloadedError:
            refused.set()
            return "refused"

    with ThreadPoolExecutor(5) as pool:
        with turns:
            outcomes = pool.map(check, range(5))
            assert refused.wait(30)
        assert Counter(outcomes) == {"checked": 4, "refused": 1}


def test_a_share_that_waits_for_memory_is_not_held(app: Flask, alice: Sender) -> None:
    """Of many large shares that wait for memory to be opened, none is in memory meanwhile."""
    value = os.urandom(20_000)
    token = alice.share(secret=b64encode(value).decode())
    held: list[bool] = []

    def reserve(_size: int, forget: Callable[[], None]) -> None:
        forget()
        held.append(any(type(one) is Share and one.value == value for one in gc.get_objects()))

    attempt = Attempt(action=Action.UNWRAP)
    assert services(app).of(Shares).open(token, "", reserve=reserve, attempt=attempt) == value
    assert held == [False]


def test_a_large_share_reserves_its_memory_first(
    app: Flask, alice: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without memory for the reply, a large value stays shared; a small one and a guess need none."""
    large = b64encode(bytes(60_000)).decode()
    tokens = [alice.share(secret=secret) for secret in (VALUE, large)]
    with monkeypatch.context() as patch:
        patch.setattr(memory, "_WAIT_TIMEOUT_SECONDS", 0.001)
        patch.setitem(app.extensions, REPLY_MEMORY, memory.Memory(1_000))
        assert alice.open("share/open", {"token": tokens[0]}).json == {"secret": VALUE}
        assert alice.open("share/open", {"token": tokens[1]}, 503).json["code"] == "overloaded"
        alice.open("share/open", {"token": f"smw_{'0' * 43}"}, 404)
    assert alice.open("share/open", {"token": tokens[1]}).json == {"secret": large}


def test_a_share_stays_without_its_entry(alice: Sender, stored: Stored) -> None:
    """Without the trail no value is released, however often someone tries, and no try is used up."""
    token = alice.share(secret=VALUE, passphrase="right")
    body = {"token": token, "passphrase": "right"}
    block_trail(stored)
    for _ in range(6):
        assert alice.open("share/open", body, 503).json["code"] == "audit_unavailable"
    restore_trail(stored)
    assert alice.open("share/open", body).json == {"secret": VALUE}


def test_a_value_opens_only_under_its_own_token(alice: Sender, stored: Stored) -> None:
    """A passphrase protects the value in the database, too, and a share cannot take another one's place."""
    token = alice.share(secret=VALUE, passphrase="right")
    [first] = stored.secrets.find()
    other = alice.share(secret="b3RoZXI=", passphrase="right")
    stored.secrets.update_one({"_id": {"$ne": first["_id"]}}, {"$set": {"envelope": first["envelope"]}})
    assert alice.open("share/open", {"token": other, "passphrase": "right"}, 500).json["code"] == "decryption"
    stored.secrets.update_one({"_id": first["_id"]}, {"$set": {"tries": None}})
    alice.open("share/open", {"token": token, "passphrase": "wrong"}, 403)
    stored.secrets.update_one({"_id": first["_id"]}, {"$set": {"tries": "many"}})
    alice.open("share/open", {"token": token, "passphrase": "right"}, 404)


def test_a_link_that_ended_asks_for_no_credential(alice: Sender) -> None:
    """The password of a proxy in front of the service has nothing to do with a link."""
    body, header = {"token": WrappingToken.new().text}, {"Authorization": "Basic YTpi"}
    refused = [alice.open("share/describe", body, 404, **sent).json["detail"] for sent in ({}, header)]
    assert refused[0] == refused[1]


@requires("dialect")
def test_a_share_is_no_wrapped_reply(alice: Sender, app: Flask) -> None:
    """Vault's API neither opens nor spends a share, and no reference finds it."""
    token = alice.share(secret=VALUE)
    client = app.test_client()
    for headers in ({"X-Vault-Token": token}, {}):
        reply = client.post("/v1/sys/wrapping/unwrap", json={"token": token}, headers=headers)
        assert reply.status_code in (400, 403)
    assert client.get("/v1/secret/data/a", headers={"X-Vault-Token": token}).status_code == 403
    assert alice.open("share/open", {"token": token}).json == {"secret": VALUE}


def test_offboarding_ends_shares(alice: Sender) -> None:
    """A share that no one has opened is a wrapped reply without an end, and ends with an entry."""
    token = alice.share(secret=VALUE)
    accessor = WrappingToken(token).accessor
    assert [accessor] in list(wrapping.unspent())
    wrapping.end(accessor, attempt=Attempt(action=Action.TOKEN_REVOKE, principal=OPERATOR))
    alice.open("share/open", {"token": token}, 404)


def test_guesses_count_as_failures(alice: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown tokens and wrong passphrases count for `FAILED_AUTH_LIMIT`; a valid link still opens."""
    counted: list[str] = []
    monkeypatch.setattr(rate_limits, "count_failure", lambda attempt: counted.append(attempt.action))
    token = alice.share(secret=VALUE, passphrase="right")
    for unknown in ("nope", f"smw_{'0' * 43}", token[:-1] + ("0" if token[-1] != "0" else "1")):
        alice.open("share/open", {"token": unknown}, 404)
        alice.open("share/describe", {"token": unknown}, 404)
    alice.open("share/open", {"token": token, "passphrase": "wrong"}, 403)
    assert Counter(counted) == {"unwrap": 4, "wrap_lookup": 3}


@pytest.mark.usefixtures("secret")
def test_receipts_prove_a_share_and_its_opening(alice: Sender, key: MasterKey) -> None:
    """Both the sender and the one who opens it can have a receipt, which names the secret."""
    asked = {"X-Receipt": "1"}
    shared = alice.ask("secret/share", {"name": NAME}, **asked)
    opened = alice.open("share/open", {"token": shared.json["token"]}, **asked)
    keys = {"signer": SigningKey(key).public}
    for answer, action in ((shared, "fetch"), (opened, "unwrap")):
        receipt = receipts.read(answer.headers["X-Receipt"], keys)
        assert receipt
        assert (receipt.payload["action"], receipt.payload["name"]) == (action, NAME)


def test_a_canary_stays_one(alice: Sender) -> None:
    """Sharing a canary sets off its alarm, and so does opening the share."""
    alice.ask("secret/create", {"name": NAME, "secret": VALUE, "canary": True})
    token = alice.share(name=NAME)
    alice.open("share/open", {"token": token})
    reply = alice.ask("audit/query", {}).json
    alarms = [entry["action"] for entry in reply["entries"] if entry["details"].get("canary")]
    assert alarms == ["fetch", "unwrap"]


@pytest.fixture
def _public(app: Flask) -> Iterator[None]:
    app.config["PUBLIC_URL"] = "https://secrets.example/sub/"
    yield
    app.config["PUBLIC_URL"] = None


@pytest.mark.usefixtures("_public")
def test_a_link_has_the_public_address(alice: Sender) -> None:
    """With `PUBLIC_URL`, replies have links, with the tokens in their fragments."""
    for operation, body, page in (
        ("secret/share", {"secret": "YQ=="}, "share"),
        ("secret/request", {"name": "team/new"}, "request"),
    ):
        reply = alice.ask(operation, body).json
        assert reply["url"] == f"https://secrets.example/sub/console/{page}#{reply['token']}"


def test_each_wrong_passphrase_has_its_entry(
    app: Flask, alice: Sender, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flood of anonymous guesses is counted, except the tries that end a share."""
    monkeypatch.setattr(services(app).authenticator, "_anonymous", UNAUTHENTICATED)
    for _ in range(9):
        alice.open("share/open", {"token": f"smw_{'0' * 43}", "passphrase": "wrong"}, 404)
    accessors = []
    for _ in range(3):
        token = alice.share(secret=VALUE, passphrase="right")
        accessors.append(WrappingToken(token).accessor)
        for _ in range(5):
            alice.open("share/open", {"token": token, "passphrase": "wrong"}, 403)
        alice.open("share/open", {"token": token, "passphrase": "right"}, 404)
    tries = [(one["secret_id"], one["details"]["try"]) for one in trail(stored) if "try" in one["details"]]
    assert tries == [(accessor, number) for accessor in accessors for number in range(1, 6)]


def test_a_wrong_passphrase_without_its_entry_is_not_counted(alice: Sender, stored: Stored) -> None:
    """Without the trail, guesses use up no try, and their sender does not learn that they are wrong."""
    token = alice.share(secret=VALUE, passphrase="right")
    block_trail(stored)
    for _ in range(6):
        reply = alice.open("share/open", {"token": token, "passphrase": "wrong"}, 503)
        assert reply.json["code"] == "audit_unavailable"
    restore_trail(stored)
    alice.open("share/open", {"token": token, "passphrase": "wrong"}, 403)
    assert [one["details"]["try"] for one in trail(stored) if "try" in one["details"]] == [1]
    assert alice.open("share/open", {"token": token, "passphrase": "right"}).json == {"secret": VALUE}


def test_a_try_whose_process_died_is_free_again(alice: Sender, stored: Stored) -> None:
    """Tries are held while passphrases are compared, until their entries; without these, none counts."""
    token = alice.share(secret=VALUE, passphrase="right")
    accessor = WrappingToken(token).accessor
    held = [tries.hold(accessor) for _ in range(6)]
    assert [one and one.number for one in held] == [1, 2, 3, 4, 5, None]
    alice.open("share/open", {"token": token, "passphrase": "right"}, 404)
    long_ago = {f"held_tries.{number}.until": in_past(seconds=1) for number in range(5)}
    stored.secrets.update_one({"_id": accessor}, {"$set": long_ago})
    assert alice.open("share/open", {"token": token, "passphrase": "right"}).json == {"secret": VALUE}

"""The service, as the broker asks it: where a session can use secrets, and for the use of one."""

import asyncio
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from time import monotonic
from typing import Any, NoReturn
from weakref import WeakValueDictionary

from vault.clients.broker.problems import RefusedError
from vault.clients.broker.targets import Origin
from vault.clients.delivery.outcomes import NotDeliveredError
from vault.common.errors import ServiceRefusedError, VaultError
from vault.toolkit.client.service import Service

#: The time of a call, with its wait for a thread.
_CALL_SECONDS = 5

#: Calls at once: as many as the client keeps connections; and for one address, so that others get their turn.
_MAX_CALLS, _MAX_CALLS_OF_CLIENT = 16, 12

#: The time between two looks at a session, and how old an answer can be for a new tunnel. The service itself
#: takes up to 3 s to notice a revocation: within 5 s, it has an effect here.
_PAUSE_SECONDS, _FRESH_SECONDS = 1.5, 0.5

#: Sessions whose hosts are kept.
_MAX_KEPT = 256

#: The bytes of the shortest value that has use rules.
_MIN_SECRET_BYTES = 8

_HEADER = re.compile("[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
#: A header's value, in UTF-8.
_VALUE = re.compile("[^\x00-\x20\x7f](?:[^\x00-\x08\x0a-\x1f\x7f]*[^\x00-\x20\x7f])?")


@dataclass(frozen=True, slots=True)
class Use:
    """A use on record: the header for one request, and what must not come back."""

    name: str
    version: int
    header: str
    value: str = field(repr=False)
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Session:
    """Who asks: a credential of the service, and the address of its holder."""

    token: str = field(repr=False)
    client: str


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question that has been asked, and is answered with the hosts of a session."""

    at: float
    answer: asyncio.Task[frozenset[str]]

    @property
    def age(self) -> float:
        """Seconds since it was asked."""
        return monotonic() - self.at

    async def require(self, host: str) -> None:
        """Require that the answer has *host*, or without one, that there is an answer."""
        # The answer is also for others, who may stay.
        if host not in {"", *await asyncio.shield(self.answer)}:
            raise RefusedError(
                HTTPStatus.FORBIDDEN,
                "host_refused",
                f"No secret that you can use has a use rule for {host}: see `secret-manager secret rules`. "
                "`secret-manager broker --allow` opens a host without one.",
            )


class Uses:
    """The service, as the broker calls it. All methods raise RefusedError."""

    def __init__(self, connect: Callable[[str], Service], token: Callable[[], str]) -> None:
        """Call the service that *connect* returns for the current *token*, which can change."""
        self._connect = connect
        self._token = token
        self._service: Service | None = None
        self._threads = ThreadPoolExecutor(_MAX_CALLS, thread_name_prefix="uses")
        #: However many requests of a session want to know its hosts, one call asks.
        self._asked: dict[Session, _Asked] = {}
        #: By address, the turns of its calls.
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    def close(self) -> None:
        """Close the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def require(self, session: Session, host: str = "") -> None:
        """Require that *session* can use a secret for *host*, or without one, that it is valid."""
        await self._ask(session, _FRESH_SECONDS).require(host)

    async def cut_at_end(self, session: Session, host: str = "") -> NoReturn:
        """Run while `require` succeeds, and raise its error.

        All that runs for a session waits for the same moment, at which one call asks. While the service does
        not answer, what runs goes on: its use is on record.
        """
        wait = _PAUSE_SECONDS
        while True:
            await asyncio.sleep(wait)
            asked = self._ask(session, _PAUSE_SECONDS)
            try:
                await asked.require(host)
            except RefusedError as error:
                # Not after too many requests: invalid ones would keep the reply of a revoked session running.
                if error.status != HTTPStatus.SERVICE_UNAVAILABLE:
                    raise
            wait = _PAUSE_SECONDS - asked.age

    async def use(self, session: Session, origin: Origin, method: str, path: str) -> Use:
        """Return the header for a request, once its use is on record."""
        body = {"host": origin.authority.rule, "method": method, "path": path}
        reply = await self._call("use", session, body)
        try:
            use = Use(
                str(reply["name"]), int(reply["version"]), reply["header"], reply["value"], reply["secret"]
            )
            _require_usable(use)
        except (AttributeError, KeyError, TypeError, ValueError):
            raise _unavailable() from None
        return use

    def _ask(self, session: Session, seconds: float) -> _Asked:
        """Ask for the hosts of *session*, unless that was done in the last *seconds*."""
        asked = self._asked.get(session)
        if asked is None or asked.age > seconds:
            asked = _Asked(monotonic(), asyncio.create_task(self._hosts(session)))
            asked.answer.add_done_callback(partial(self._forget, session))
            self._asked[session] = asked
        return asked

    async def _hosts(self, session: Session) -> frozenset[str]:
        """Return the hosts for which the *session* can use a secret, as use rules have them."""
        reply = await self._call("usable", session, {})
        try:
            return frozenset(str(host) for one in reply["rules"] for host in one["hosts"])
        except (KeyError, TypeError):
            raise _unavailable() from None

    def _forget(self, session: Session, answer: asyncio.Task[frozenset[str]]) -> None:
        """Forget a refusal, and answers that are old if there are many."""
        # Also if every request that waited for it has ended. An outage is kept: one call finds its end.
        if answer.cancelled() or not _is_lasting(answer.exception()):
            self._asked.pop(session, None)
        if len(self._asked) > _MAX_KEPT:
            self._asked = {key: asked for key, asked in self._asked.items() if asked.age <= _PAUSE_SECONDS}

    async def _call(self, operation: str, session: Session, body: Mapping[str, Any]) -> dict[str, Any]:
        sent = {"session": session.token, "client": session.client, **body}
        turns = self._turns.setdefault(session.client, asyncio.Semaphore(_MAX_CALLS_OF_CLIENT))
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_CALL_SECONDS), turns:
                return await loop.run_in_executor(self._threads, self._called, operation, sent)
        except ServiceRefusedError as error:
            raise _refusal(error) from None
        except (NotDeliveredError, VaultError, TimeoutError):
            raise _unavailable() from None

    def _called(self, operation: str, body: Mapping[str, Any]) -> dict[str, Any]:
        token = self._token()
        if self._service is None or self._service.token != token:
            self._service = self._connect(token)
        return self._service.call(f"/vault/secret/{operation}", body)


def _is_lasting(error: BaseException | None) -> bool:
    """Return whether an answer with this *error*, if any, may be given again."""
    return error is None or (
        isinstance(error, RefusedError) and error.status == HTTPStatus.SERVICE_UNAVAILABLE
    )


def _require_usable(use: Use) -> None:
    # JSON can have half of a surrogate pair, which cannot be encoded.
    is_header = _HEADER.fullmatch(use.header) and _VALUE.fullmatch(use.value) and use.value.encode()
    if not is_header or len(use.secret.encode()) < _MIN_SECRET_BYTES:
        raise ValueError


def _unavailable() -> RefusedError:
    return RefusedError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "service_unavailable",
        "The service does not answer, or not as it should: nothing was sent to the host.",
    )


def _refusal(error: ServiceRefusedError) -> RefusedError:
    # The broker's own credential is not its client's concern.
    if error.status == HTTPStatus.UNAUTHORIZED:
        return _unavailable()
    wait = {"Retry-After": str(error.retry_after)} if error.retry_after else {}
    return RefusedError(error.status, error.code, f"{error.problem}.", headers=wait)

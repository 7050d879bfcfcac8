"""The connection of a client: its tunnel to one host, and the requests in it."""

import logging
import re
import ssl
from base64 import b64decode
from collections.abc import Collection
from dataclasses import dataclass
from http import HTTPStatus

import h11

from vault.clients.broker import heads
from vault.clients.broker.addresses import Addresses
from vault.clients.broker.authority import CertificateAuthority
from vault.clients.broker.exchange import Exchange, Passage, first, send_problem
from vault.clients.broker.problems import RefusedError, malformed
from vault.clients.broker.service import Session, Uses
from vault.clients.broker.shares import Shares
from vault.clients.broker.stream import PeerGoneError, Stream
from vault.clients.broker.targets import Authority, Origin, split_url
from vault.clients.broker.upstream import Upstream, connected
from vault.common.networks import unmapped

logger = logging.getLogger(__name__)

#: Until the first head of a connection, and between two requests.
_FIRST_SECONDS, _IDLE_SECONDS = 10, 75

#: In a tunnel that is not intercepted.
_TUNNEL_IDLE_SECONDS = 600

#: A token or a JWT.
_SESSION = re.compile("[!-~]{1,8192}")

_ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
_CHALLENGE = {"Proxy-Authenticate": 'Basic realm="session"'}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What all connections share."""

    uses: Uses
    authority: CertificateAuthority
    addresses: Addresses
    #: The trust in hosts.
    trust: ssl.SSLContext
    #: Hosts to which tunnels are not intercepted.
    opened: Collection[Authority]
    #: Of the requests at a time, by session.
    requests: Shares


class Connection:
    """The connection of a *client*."""

    def __init__(self, client: Stream, parts: Parts) -> None:
        self._client = client
        self._parts = parts
        #: The way to the tunnel's host, or to that of the last request without a tunnel.
        self._passage: Passage | None = None
        self._is_tunnel = False

    async def run(self) -> None:
        """Answer requests until one ends the connection.

        Raises:
            PeerGoneError: A peer broke off.
        """
        seconds = _FIRST_SECONDS
        try:
            while await self._answer(seconds):
                # Whoever has shown no session does not keep a connection.
                seconds = _IDLE_SECONDS if self._passage else _FIRST_SECONDS
        finally:
            if self._passage:
                self._passage.upstream.abort()

    async def _answer(self, seconds: float) -> bool:
        """Answer the next request, and return whether another one can follow."""
        try:
            head = await self._client.head(seconds)
            if not head:
                return False
            heads.require_request(head)
            exchange = Exchange(self._client, head)
        except heads.FlawedHeadError as error:
            return await self._refuse(malformed(str(error)))
        except RefusedError as error:
            return await self._refuse(error)
        try:
            if exchange.method == "CONNECT":
                return await self._connect(exchange)
            await self._relay(exchange)
        except RefusedError as error:
            await exchange.refuse(error)
        return exchange.is_reusable

    async def _refuse(self, error: RefusedError) -> bool:
        await send_problem(self._client, h11.Connection(h11.SERVER), error)
        return False

    async def _relay(self, exchange: Exchange) -> None:
        target, passage = self._way(exchange)
        if not self._parts.requests.take(passage.session):
            raise RefusedError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "too_many_requests",
                "The broker has as many requests as it can, or as it can of one session: try again later.",
                headers={"Retry-After": "1"},
            )
        try:
            await exchange.relay(target, passage)
        finally:
            self._parts.requests.free(passage.session)

    def _way(self, exchange: Exchange) -> tuple[str, Passage]:
        """Return the target of a request at its host, and the way there."""
        if self._is_tunnel and self._passage:
            return exchange.target, self._passage
        origin, target = split_url(exchange.target)
        return target, self._pass(origin, self._session(exchange))

    async def _connect(self, exchange: Exchange) -> bool:
        """Begin a tunnel, and return whether it is intercepted; one that is not has ended by then."""
        if self._is_tunnel:
            raise malformed("asks for a tunnel in a tunnel")
        authority = Authority.of(exchange.target)
        named = dict(exchange.fields)
        if (
            authority is None
            # Node.js omits the port 443.
            or not Origin(authority, has_tls=True).is_host(
                named.get(b"host", exchange.request.target).decode("latin-1")
            )
        ):
            raise malformed("has a target that is no host with its port, or another one than Host")
        if self._client.has_unread or named.keys() & {b"content-length", b"transfer-encoding"}:
            raise malformed("has more than its head")
        session = self._session(exchange)
        if authority in self._parts.opened:
            await self._tunnel(authority, session)
            return False
        await self._parts.uses.require(session, authority.rule)
        await self._client.send(_ESTABLISHED)
        try:
            await self._client.start_tls(self._parts.authority.context(authority.host))
        except OSError:
            # An SSLError is one, too.
            raise PeerGoneError from None
        self._pass(Origin(authority, has_tls=True), session)
        self._is_tunnel = True
        return True

    async def _tunnel(self, authority: Authority, session: Session) -> None:
        parts = self._parts
        await parts.uses.require(session)
        host = await connected(Origin(authority, has_tls=False), parts.addresses, parts.trust)
        logger.info("tunnelled without interception", extra={"host": authority.rule})
        try:
            await self._client.send(_ESTABLISHED)
            cut = parts.uses.cut_at_end(session)
            await first(_copied(self._client, host), _copied(host, self._client), cut)
        except RefusedError:
            self._client.abort()
        finally:
            await host.close()

    def _pass(self, origin: Origin, session: Session) -> Passage:
        passage, parts = self._passage, self._parts
        if passage and (passage.upstream.origin, passage.session) == (origin, session):
            return passage
        if passage:
            passage.upstream.abort()
        self._passage = Passage(session, parts.uses, Upstream(origin, parts.addresses, parts.trust))
        return self._passage

    def _session(self, exchange: Exchange) -> Session:
        """Return the session that a request names.

        Raises:
            RefusedError: It names none.
        """
        field = dict(exchange.fields).get(b"proxy-authorization", b"")
        scheme, _, credential = field.decode("latin-1").partition(" ")
        token = credential.strip()
        if scheme.lower() == "basic":
            token = _password(token)
        if scheme.lower() not in ("basic", "bearer") or not _SESSION.fullmatch(token):
            raise RefusedError(
                HTTPStatus.PROXY_AUTHENTICATION_REQUIRED,
                "session_required",
                "Name your session, a token with the scope secret:use, as the password of the proxy.",
                headers=_CHALLENGE,
            )
        return Session(token, unmapped(self._client.peer))


def _password(credential: str) -> str:
    try:
        return b64decode(credential, validate=True).decode().partition(":")[2]
    except ValueError:
        # Of base64 and of UTF-8.
        return ""


async def _copied(source: Stream, to: Stream) -> None:
    while data := await source.receive(_TUNNEL_IDLE_SECONDS):
        await to.send(data)

"""gunicorn's worker: listeners, their conversations, and a graceful stop."""

import os
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any

import gevent
from gevent import socket
from gevent.pool import Pool
from gunicorn.http.wsgi import base_environ
from gunicorn.sock import ssl_context
from gunicorn.workers import base

from vault.server.clients import DEADLINES, Client
from vault.server.conversation import Conversation
from vault.server.heads import Environ
from vault.server.listeners import Listener
from vault.toolkit.http.connections import Connection, Connections

#: Seconds between two looks whether the worker should stop.
_WATCH_SECONDS = 1.0


class Worker(base.Worker):  # type: ignore[misc] # gunicorn is not typed
    """A worker whose connections are greenlets."""

    #: Returns the limits of one listener; `gunicorn_conf` sets it.
    limits: Callable[[], Connections]
    sockets: list[Any]

    def init_process(self) -> None:
        """Make the sockets, which the master opened, sockets of this process, and run."""
        self.sockets = [
            socket.socket(listening.FAMILY, socket.SOCK_STREAM, fileno=listening.sock.detach())
            for listening in self.sockets
        ]
        gevent.reinit()
        super().init_process()

    def run(self) -> None:
        """Serve until the worker is to stop, then finish the requests that have begun."""
        listeners = [self._listener(listening) for listening in self.sockets]
        for listener in listeners:
            listener.start()
        # Also without its master, it stops gracefully.
        while self.alive and self.ppid == os.getppid():
            self.notify()
            gevent.sleep(_WATCH_SECONDS)
        for listener in listeners:
            listener.close()
        deadline = monotonic() + self.cfg.graceful_timeout
        while not all(listener.pool.join(timeout=_WATCH_SECONDS) for listener in listeners):
            self.notify()
            if monotonic() > deadline:
                self.log.warning("Worker graceful timeout (pid:%s)", self.pid)
                for listener in listeners:
                    listener.stop(timeout=1)
                return

    def handle_quit(self, sig: int, frame: Any) -> None:
        """End quickly, in a greenlet: signal handlers may not wait."""
        gevent.spawn(super().handle_quit, sig, frame)

    def handle_usr1(self, sig: int, frame: Any) -> None:
        """Reopen the log, in a greenlet as above."""
        gevent.spawn(super().handle_usr1, sig, frame)

    def _listener(self, listening: Any) -> Listener:
        """Return the server of the socket *listening*."""
        listener = Listener(
            listening,
            partial(self._converse, self._template(listening)),
            limits=self.limits,
            spawn=Pool(self.cfg.worker_connections),
            ssl_context=ssl_context(self.cfg) if self.cfg.is_ssl else None,
        )
        if self.cfg.workers > 1:
            # Otherwise one worker could take all connections that arrive together.
            listener.max_accept = 1
        return listener

    def _template(self, listening: Any) -> Environ:
        """Return what the environments of all requests to the socket *listening* have in common."""
        name = listening.getsockname()
        # A Unix domain socket has no port.
        host, port = name[:2] if isinstance(name, tuple) else (name, "")
        return {
            **base_environ(self.cfg),
            "wsgi.multithread": True,
            "wsgi.url_scheme": "https" if self.cfg.is_ssl else "http",
            "SERVER_NAME": host,
            "SERVER_PORT": str(port),
            "SCRIPT_NAME": "",
        }

    def _converse(self, template: Environ, client: Any, address: Any, connection: Connection) -> None:
        """Answer the requests of *client* at *address*."""
        host, port = address[:2] if isinstance(address, tuple) else ("", "")
        template = {**template, "REMOTE_ADDR": host, "REMOTE_PORT": str(port)}
        max_rest = self.app.callable.config["MAX_BATCH_LENGTH"]
        peer = Client(client)
        DEADLINES.add(peer)
        try:
            Conversation(peer, connection, self.wsgi, template, max_rest).run()
        finally:
            DEADLINES.remove(peer)

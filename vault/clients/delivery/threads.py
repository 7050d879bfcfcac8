"""Servers with a bounded number of threads, one for each connection."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import BaseServer
from threading import BoundedSemaphore, Thread
from typing import Any

logger = logging.getLogger(__name__)

#: How often a server looks whether it has to stop.
_POLL_SECONDS = 0.1


class ThreadedServer(BaseServer):
    """A server with a thread for each of at most *max_connections*.

    Not `ThreadingMixIn`: at its end, it also waits for threads that could not start, which is an error.
    """

    request_queue_size = 512
    _max_connections = 0

    def limit(self, *, max_connections: int) -> None:
        """Set the maximum, before the first connection."""
        self._max_connections = max_connections
        self._free = BoundedSemaphore(max_connections)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a request in a thread, or close the connection if there are too many."""
        if not self._admit(self._free):
            logger.warning("too many connections")
            self.shutdown_request(request)
            return
        try:
            Thread(target=self._serve, args=(request, client_address)).start()
        except RuntimeError:
            self._free.release()
            raise

    def _admit(self, free: BoundedSemaphore) -> bool:
        """Acquire one of the *free* connections; return whether there was one."""
        return free.acquire(blocking=False)

    def _serve(self, request: Any, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except Exception:  # noqa: BLE001 - as in `socketserver`: an error of one connection ends that one
            self.handle_error(request, client_address)
        finally:
            self.shutdown_request(request)
            self._free.release()

    def server_close(self) -> None:
        """Close the socket, and wait for the calls in progress."""
        super().server_close()
        for _ in range(self._max_connections):
            self._free.acquire()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Log an error of a connection, such as a client that left."""
        logger.info("a connection failed", exc_info=sys.exc_info())


@contextmanager
def accepting(server: BaseServer) -> Iterator[None]:
    """Accept connections in a thread: a signal interrupts the main one, anywhere."""
    thread = Thread(target=server.serve_forever, args=[_POLL_SECONDS], daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()

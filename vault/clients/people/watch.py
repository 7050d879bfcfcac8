"""Watches: a thread that looks for changes of secrets, and fetches the new values."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Event, Thread

from vault.clients.people.record_selection import Selection
from vault.common.errors import VaultError
from vault.toolkit.client.secrets import Fetched, Secrets

Found = Mapping[str, Fetched]


@contextmanager
def watching(
    selection: Selection,
    secrets: Secrets,
    found: Found,
    *,
    interval_seconds: float,
    wake: Callable[[], None],
    report: Callable[[str], None],
) -> Iterator[deque[Found]]:
    """Look for changes since *found* while the block runs; after each, call *wake*.

    Yield a queue that has the newest values until they are taken. The watch asks for descriptions, so it
    fetches only after a change. An error is reported once, and ends nothing.
    """
    changes: deque[Found] = deque(maxlen=1)
    ended = Event()

    def watch() -> None:
        seen, reported = _versions(found), ""
        while not ended.wait(interval_seconds):
            try:
                if selection.versions(secrets) != seen:
                    new = selection.fetch(secrets)
                    seen = _versions(new)
                    changes.append(new)
                    wake()
                reported = ""
            # Also after a defect: otherwise the program would keep old secrets, and no one would know.
            except Exception as error:  # noqa: BLE001
                problem = _problem(error)
                if reported != problem:
                    report(problem)
                reported = problem

    thread = Thread(target=watch, name="watch", daemon=True)
    thread.start()
    try:
        yield changes
    finally:
        # Without waiting: it may be in a request.
        ended.set()


def _problem(error: Exception) -> str:
    # The text of another error could contain a value.
    return error.problem if isinstance(error, VaultError) else f"unexpected {type(error).__name__}"


def _versions(found: Found) -> dict[str, tuple[str, int]]:
    return {variable: (one.secret_id, one.version) for variable, one in found.items()}

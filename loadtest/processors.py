"""Processors: those that processes run on, and the share of one that a group of processes gets."""

import os
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import Self

import click

#: The kernel's control groups, version 2, and version 1 with one hierarchy for each controller.
_UNIFIED, _CPU = Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/cpu")
#: Short, so that a group waits for its next turn only briefly.
_PERIOD_MICROSECONDS = 10_000
_END_SECONDS = 10


@contextmanager
def pinned(processors: Collection[int]) -> Iterator[None]:
    """Run this thread, and the processes that it starts in the block, on *processors* only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, processors)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class WholeProcessors:
    """A group of processes without a limit."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing."""

    def add(self, pids: Iterable[int]) -> None:
        """Do nothing."""


class ProcessorShare(WholeProcessors):
    """A group of processes that gets at most a *share* of one processor, by a control group of the kernel."""

    def __init__(self, share: float) -> None:
        quota = round(share * _PERIOD_MICROSECONDS)
        if _is_unified():
            self._group = _UNIFIED / f"scale-{token_hex(4)}"
            self._limits = {"cpu.max": f"{quota} {_PERIOD_MICROSECONDS}"}
        else:
            self._group = _CPU / f"scale-{token_hex(4)}"
            self._limits = {"cpu.cfs_period_us": str(_PERIOD_MICROSECONDS), "cpu.cfs_quota_us": str(quota)}

    def __enter__(self) -> Self:
        try:
            self._group.mkdir()
            for name, value in self._limits.items():
                (self._group / name).write_text(value)
        except OSError as error:
            raise click.ClickException(
                f"control groups cannot limit processes here ({error}): run this as root, or with --share 0"
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the group, once its processes have ended."""
        deadline = time.monotonic() + _END_SECONDS
        while self._group.exists():
            try:
                self._group.rmdir()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def add(self, pids: Iterable[int]) -> None:
        """Put processes into the group; those that they start later are in it, too."""
        for pid in pids:
            (self._group / "cgroup.procs").write_text(str(pid))


def share_of(share: float) -> WholeProcessors:
    """Return a group of processes with a *share* of one processor; 0 stands for no limit."""
    return ProcessorShare(share) if share else WholeProcessors()


def _is_unified() -> bool:
    controllers = _UNIFIED / "cgroup.controllers"
    return controllers.exists() and "cpu" in controllers.read_text().split()

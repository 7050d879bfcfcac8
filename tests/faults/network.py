"""A network of our own: each member in a namespace, its link to the others a cable that can be cut."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.faults.sandbox import run
from vault.core.processes import die_with_parent, end

_NET = "10.99.0"

#: Where the command itself is, and with it the service and its clients.
_OUTSIDE = "254"


class Network:
    """A bridge, and *count* namespaces behind it.

    In each namespace another bridge has the address. It is there because it has two ways out: the cable, and,
    while the member is slow, a relay.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        # `ip netns` keeps its names below /run, which is not ours outside of the sandbox.
        run("mount", "-t", "tmpfs", "tmpfs", "/run")
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "hub", "type", "bridge")
        run("ip", "address", "add", f"{_NET}.{_OUTSIDE}/24", "dev", "hub")
        run("ip", "link", "set", "hub", "up")
        for number in range(count):
            self._connect(number)

    def _connect(self, number: int) -> None:
        name, inside = _name(number), ("ip", "-n", _name(number))
        run("ip", "netns", "add", name)
        run(*inside, "link", "set", "lo", "up")
        run(*inside, "link", "add", "hub", "type", "bridge")
        run(*inside, "address", "add", f"{address(number)}/24", "dev", "hub")
        run(*inside, "link", "set", "hub", "up")
        run("ip", "link", "add", _cable(number), "type", "veth", "peer", "name", "cable", "netns", name)
        run(*inside, "link", "set", "cable", "master", "hub", "up")
        run("ip", "link", "set", _cable(number), "master", "hub", "up")

    def command(self, number: int) -> Sequence[str]:
        """Return what a command of member *number* begins with."""
        return ("ip", "netns", "exec", _name(number))

    @contextmanager
    def cut(self, number: int) -> Iterator[None]:
        """Let nothing reach member *number*, nor anything come from it, while the block runs."""
        run("ip", "link", "set", _cable(number), "down")
        try:
            yield
        finally:
            run("ip", "link", "set", _cable(number), "up")

    @contextmanager
    def parted(self, number: int) -> Iterator[None]:
        """Let member *number* reach the service but none of the other members while the block runs."""
        others = [f"{address(other)}/32" for other in range(self._count) if other != number]
        for other in others:
            run("ip", "-n", _name(number), "route", "add", "blackhole", other)
        try:
            yield
        finally:
            for other in others:
                run("ip", "-n", _name(number), "route", "delete", "blackhole", other)

    @contextmanager
    def slow(self, number: int, *, milliseconds: int) -> Iterator[None]:
        """Let each round trip to member *number* take so many *milliseconds* more while the block runs."""
        relay = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.relay", _name(number), str(milliseconds / 2_000)],
            stdout=subprocess.PIPE,
            preexec_fn=die_with_parent(signal.SIGKILL),
        )
        assert relay.stdout is not None
        try:
            assert relay.stdout.readline() == b"ready\n"
            with self.cut(number):
                yield
        finally:
            end(relay, seconds=10)
            relay.stdout.close()


def address(number: int) -> str:
    """Return the address of member *number*."""
    return f"{_NET}.{number + 1}"


def can_relay() -> bool:
    """Return whether this process may make the devices that a relay needs."""
    return os.access("/dev/net/tun", os.R_OK | os.W_OK)


def _name(number: int) -> str:
    return f"member-{number}"


def _cable(number: int) -> str:
    return f"cable-{number}"

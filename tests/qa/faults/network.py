"""An isolated network: each member has its own namespace, with a link that can be cut."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.qa.faults.sandbox import run
from vault.common.processes import die_with_parent, end

_NET = "10.99.0"

#: The namespace of the command itself, with the service and its clients.
_OUTSIDE = "254"


class Network:
    """A bridge, and *count* namespaces behind it.

    In each namespace another bridge has the address, because there are two ways out: the cable and, while the
    member is slow, a relay.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        # `ip netns` keeps its names below /run, which belongs to the host outside of the sandbox.
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
        """Return the command prefix for member *number*."""
        return ("ip", "netns", "exec", _name(number))

    @contextmanager
    def cut(self, number: int) -> Iterator[None]:
        """Cut all traffic to and from member *number* during the block."""
        run("ip", "link", "set", _cable(number), "down")
        try:
            yield
        finally:
            run("ip", "link", "set", _cable(number), "up")

    @contextmanager
    def partitioned(self, number: int) -> Iterator[None]:
        """Cut member *number* off from the other members, but not from the service, during the block."""
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
        """Add *milliseconds* to each round trip to member *number* during the block."""
        relay = subprocess.Popen(
            [sys.executable, "-m", "tests.qa.faults.relay", _name(number), str(milliseconds / 2_000)],
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
    """Return whether this process may create the devices that a relay needs."""
    return os.access("/dev/net/tun", os.R_OK | os.W_OK)


def _name(number: int) -> str:
    return f"member-{number}"


def _cable(number: int) -> str:
    return f"cable-{number}"

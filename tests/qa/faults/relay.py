"""A link with a delay: `python -m tests.qa.faults.relay NAMESPACE SECONDS`.

Replaces `tc qdisc add … netem delay`, which not every kernel supports. Each frame waits its SECONDS in either
direction; their order stays.
"""

import ctypes
import fcntl
import os
import selectors
import struct
import sys
import time
from collections import deque
from pathlib import Path

from tests.qa.faults.sandbox import run

_TUNSETIFF = 0x400454CA
_TAP_WITHOUT_HEADER = 0x0002 | 0x1000
_FRAME_BYTES = 65_536
_NAME = "slow"

#: A port of the bridge, one at either end of the relay.
Device = int


def _make_device() -> Device:
    """Return a new port of the bridge of this process's namespace."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH", _NAME.encode(), _TAP_WITHOUT_HEADER))
    run("ip", "link", "set", _NAME, "master", "hub", "up")
    return device


def _move_to(namespace: str) -> None:
    descriptor = os.open(Path("/run/netns") / namespace, os.O_RDONLY)
    # `os.setns` requires Python 3.12.
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, 0):
        raise OSError(ctypes.get_errno(), "setns")
    os.close(descriptor)


def relay(one: Device, other: Device, seconds: float) -> None:
    """Carry frames between the two devices forever."""
    selector = selectors.DefaultSelector()
    selector.register(one, selectors.EVENT_READ, other)
    selector.register(other, selectors.EVENT_READ, one)
    waiting: deque[tuple[float, Device, bytes]] = deque()
    while True:
        pause = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        for key, _ in selector.select(pause):
            waiting.append((time.monotonic() + seconds, key.data, os.read(key.fd, _FRAME_BYTES)))
        while waiting and waiting[0][0] <= time.monotonic():
            _, device, frame = waiting.popleft()
            os.write(device, frame)


if __name__ == "__main__":
    outside = _make_device()
    _move_to(sys.argv[1])
    inside = _make_device()
    print("ready", flush=True)  # noqa: T201 - read by the parent process
    relay(outside, inside, float(sys.argv[2]))

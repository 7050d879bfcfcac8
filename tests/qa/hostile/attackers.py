"""Attackers: a separate process that attacks with many connections."""

import asyncio
import sys
from contextlib import suppress

from tests.qa.hostile.attacks import ATTACKS, Attack

_RECONNECT_SECONDS = 0.05


def address(number: int) -> str:
    """Return the loopback address of attacker *number*; never that of honest clients."""
    return f"127.0.{1 + number // 250}.{1 + number % 250}"


async def _discard(reader: asyncio.StreamReader, arrived: asyncio.Event) -> None:
    while await reader.read(65_536):
        arrived.set()


async def _attack_once(attack: Attack, port: int, source: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
    arrived = asyncio.Event()
    discarding = asyncio.create_task(_discard(reader, arrived))
    try:
        for piece in attack.sent():
            if discarding.done():
                return
            writer.write(piece)
            await writer.drain()
            if attack.in_turns and piece:
                waiting = asyncio.create_task(arrived.wait())
                await asyncio.wait([waiting, discarding], return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                arrived.clear()
        await discarding
    finally:
        discarding.cancel()
        with suppress(OSError, asyncio.CancelledError):
            await discarding
        writer.transport.abort()


async def _attacker(attack: Attack, port: int, source: str) -> None:
    while True:
        with suppress(OSError):
            await _attack_once(attack, port, source)
        await asyncio.sleep(_RECONNECT_SECONDS)


async def _attack(name: str, port: int, connections: int, addresses: int) -> None:
    """Attack until this process is killed."""
    tasks = [
        asyncio.create_task(_attacker(ATTACKS[name], port, address(number % addresses)))
        for number in range(connections)
    ]
    # The first ones have begun, as far as the service permits.
    await asyncio.sleep(0.5)
    print("connected", flush=True)  # noqa: T201 - read by the parent process
    await asyncio.gather(*tasks)


if __name__ == "__main__":
    name, *numbers = sys.argv[1:]
    asyncio.run(_attack(name, *map(int, numbers)))

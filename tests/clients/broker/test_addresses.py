"""Addresses of hosts, whatever their names resolve to."""

import asyncio
import socket
from collections.abc import Sequence

import pytest

from tests.clients.broker.world import NAME, World, new_world
from vault.clients.broker import addresses
from vault.clients.broker.addresses import Addresses
from vault.clients.broker.problems import RefusedError
from vault.clients.broker.targets import Authority
from vault.common.networks import Network, network

REFUSED = [
    "0.0.0.0",  # noqa: S104 - nothing listens there
    *("127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1"),
    *("169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192", "192.0.2.1"),
    *("198.18.0.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
    *("::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1", "fec0::1"),
    *("::127.0.0.1", "::ffff:0:127.0.0.1"),
    *(
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
    ),
    *("2002:7f00:1::", "2002:a9fe:a9fe::1", "2001:0:4136:e378:8000:63bf:80ff:fffe", "fe80::1%lo"),
]
PUBLIC = ["93.184.216.34", "1.1.1.1", "2606:4700:4700::1111", "64:ff9b::101:101"]


def _of(found: Sequence[str], allowed: Sequence[Network] = ()) -> Sequence[str]:
    async def resolved(_: Authority) -> list[str]:
        return [*found]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(addresses, "_resolved", resolved)
        return asyncio.run(Addresses(allowed).of(Authority("a.example", 443)))


def _really(address: str) -> Sequence[str]:
    """Return what is left of an answer of the system's resolver."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443))]

    async def run() -> Sequence[str]:
        async def getaddrinfo(*_: object, **__: object) -> object:
            return found

        loop = asyncio.get_running_loop()
        loop.getaddrinfo = getaddrinfo  # type: ignore[method-assign,assignment]
        return await Addresses([]).of(Authority("a.example", 443))

    return asyncio.run(run())


@pytest.mark.parametrize("address", REFUSED)
def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    """A name that leads to this machine, a private network or a cloud's metadata is refused."""
    with pytest.raises(RefusedError, match="address_refused"):
        _really(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_used(address: str) -> None:
    """Public addresses need no option, also through a translator."""
    assert _really(address) == [address]


def test_only_allowed_addresses_are_tried() -> None:
    """Of several answers, only those that may be used are; each once, in their order."""
    assert _of(["127.0.0.1", "1.1.1.1", "10.0.0.1", "8.8.8.8", "1.1.1.1"]) == ["1.1.1.1", "8.8.8.8"]
    assert _of(["10.1.2.3", "127.0.0.1"], [network("10.0.0.0/8")]) == ["10.1.2.3"]


def test_a_name_without_addresses_is_refused(world: World) -> None:
    """A host that does not resolve is 502; its use is on record already."""
    world.names[NAME] = []
    try:
        reply = world.ask(world.request())
        assert (reply.status, reply.code) == (403, "address_refused")
        del world.names[NAME]
        reply = world.ask(world.request())
        assert (reply.status, reply.code) == (502, "host_not_found")
    finally:
        world.names[NAME] = ["127.0.0.1"]
    assert (world.host.connections, len(world.service.uses)) == (0, 2)


def test_the_checked_address_is_the_one_that_is_used(world: World) -> None:
    """A name whose answers change between check and connection leads nowhere else: it is asked once."""
    asked = []
    real = addresses._resolved

    async def changing(authority: Authority) -> list[str]:
        asked.append(authority)
        return ["127.0.0.1"] if len(asked) == 1 else ["169.254.169.254"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(addresses, "_resolved", changing)
        assert world.ask(world.request()).status == 200
    assert len(asked) == 1
    assert real is addresses._resolved


def test_the_next_address_is_tried(world: World) -> None:
    """If an address does not answer, the next one is used; without one, the reply is 502."""
    world.names[NAME] = ["127.0.0.2", "127.0.0.1"]
    try:
        assert world.ask(world.request()).status == 200
        world.names[NAME] = ["127.0.0.2", "127.0.0.3"]
        assert world.ask(world.request()).code == "host_unreachable"
    finally:
        world.names[NAME] = ["127.0.0.1"]


def test_loopback_needs_an_option() -> None:
    """Without --allow-network, a name that leads to this machine is refused, though a use is on record."""
    with new_world(networks=[]) as world:
        reply = world.ask(world.request())
        assert (reply.status, reply.code) == (403, "address_refused")
        assert world.host.connections == 0


def test_an_invalid_certificate_is_refused() -> None:
    """A host whose certificate is not valid, or of another authority, gets nothing."""
    with new_world(name="other.example.com") as world:
        assert world.ask(world.request()).code == "certificate_refused"
        assert world.host.arrived == []
    with new_world(trusted=False) as world:
        assert world.ask(world.request()).code == "certificate_refused"
        assert world.host.arrived == []


def test_a_host_without_tls_gets_nothing() -> None:
    """A host that does not speak TLS is not spoken to in plain."""
    with pytest.MonkeyPatch.context() as patch, new_world(name=None) as world:
        patch.setattr("vault.clients.broker.upstream._CONNECT_SECONDS", 0.2)
        assert world.ask(world.request()).code == "host_unreachable"
        assert world.host.arrived == []

"""The connection limits of a worker, by numbers; tests/hostile/ has the clients."""

from tests.metrics import Growth
from vault.core.connections import Connection, Connections
from vault.core.networks import network


def connections(*, max_total: int = 10, max_per_source: int = 10, exempt: str = "192.0.2.1") -> Connections:
    return Connections(max_total=max_total, max_per_source=max_per_source, exempt=[network(exempt)])


def admit(pool: Connections, address: str, closed: list[str] | None = None) -> Connection:
    connection = pool.admit(address)
    assert connection is not None
    if closed is not None:
        connection.disconnect = lambda: closed.append(address)
    return connection


def test_each_address_has_its_own_limit() -> None:
    """Each address has its own limit, and one closed connection makes room for exactly one."""
    pool = connections(max_per_source=2)
    refused = Growth("connections_dropped_total", reason="address")
    first = admit(pool, "127.0.0.1")
    admit(pool, "127.0.0.1")
    assert pool.admit("127.0.0.1") is None
    assert refused.now == 1
    admit(pool, "127.0.0.2")
    first.leave()
    first.leave()
    admit(pool, "127.0.0.1")
    assert pool.admit("127.0.0.1") is None


def test_ipv6_is_counted_by_network_and_ipv4_as_ipv4() -> None:
    """Addresses of a /64 are one client, IPv4-mapped ones are separate, and a zone is ignored."""
    pool = connections(max_per_source=1)
    admit(pool, "2001:db8::1")
    assert pool.admit("2001:db8::ffff:1") is None
    admit(pool, "2001:db8:0:1::1")
    admit(pool, "::ffff:192.0.2.7")
    admit(pool, "::ffff:192.0.2.8")
    assert pool.admit("192.0.2.7") is None
    admit(pool, "fe80::1%eth0")
    assert pool.admit("fe80::1%eth1") is None


def test_exempt_networks_and_local_sockets_have_no_limit_of_their_own() -> None:
    """Trusted proxies, in either form, and Unix sockets are not counted."""
    pool = connections(max_per_source=1)
    for address in ("192.0.2.1", "::ffff:192.0.2.1", ""):
        for _ in range(2):
            admit(pool, address)


def test_the_longest_waiting_connection_is_evicted() -> None:
    """If all are taken, a new connection replaces the one that has waited longest."""
    pool = connections(max_total=3)
    evicted = Growth("connections_dropped_total", reason="evicted")
    closed: list[str] = []
    for number in (1, 2, 3):
        connection = admit(pool, f"127.0.0.{number}", closed)
        if number == 1:
            first = connection
    first.work()
    admit(pool, "127.0.0.4", closed)
    assert closed == ["127.0.0.2"]
    first.wait()
    admit(pool, "127.0.0.5", closed)
    admit(pool, "127.0.0.6", closed)
    admit(pool, "127.0.0.7", closed)
    assert closed == ["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.1"]
    assert evicted.now == 4


def test_an_evicted_connection_is_evicted_once() -> None:
    """An evicted connection no longer counts or waits."""
    pool = connections(max_total=1)
    closed: list[str] = []
    gone = admit(pool, "127.0.0.1", closed)
    admit(pool, "127.0.0.2", closed).work()
    gone.wait()
    full = Growth("connections_dropped_total", reason="full")
    assert pool.admit("127.0.0.3") is None
    assert (closed, full.now) == (["127.0.0.1"], 1)
    gone.leave()
    assert pool.admit("127.0.0.3") is None
    # Before it has a socket, too.
    pool = connections(max_total=1)
    admit(pool, "127.0.0.1")
    admit(pool, "127.0.0.2")

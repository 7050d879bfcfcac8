"""The connection limits of a worker, by numbers; tests/qa/hostile/ has the clients."""

import pytest

from tests.support.metrics import Growth
from vault.common.networks import network
from vault.toolkit.http import connections as module
from vault.toolkit.http.connections import Connection, Connections


def connections(*, max_total: int = 10, max_per_source: int = 10) -> Connections:
    return Connections(max_total=max_total, max_per_source=max_per_source, exempt=[network("192.0.2.1")])


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


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the time that connections see."""
    now = [0.0]
    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    return now


def use(connection: Connection) -> None:
    """Give *connection* a request, after which it is idle."""
    connection.wait()
    connection.work()
    connection.wait()
    connection.rest()


@pytest.mark.promise("network")
def test_an_idle_connection_makes_way_for_another_of_its_address(clock: list[float]) -> None:
    """At its limit, an address loses its longest idle connection to a new one, after 5 seconds."""
    pool = connections(max_per_source=2)
    closed: list[str] = []
    first, second = admit(pool, "127.0.0.1", closed), admit(pool, "127.0.0.1", closed)
    second.disconnect = lambda: closed.append("second")
    use(second)
    clock[0] = 1
    use(first)
    clock[0] = 4.9
    assert pool.admit("127.0.0.1") is None
    clock[0] = 5
    admit(pool, "127.0.0.1").work()
    assert closed == ["second"]
    assert second.is_evicted
    # The other one has been idle for 4 seconds.
    assert pool.admit("127.0.0.1") is None
    clock[0] = 60
    first.wait()
    assert pool.admit("127.0.0.1") is None
    assert not first.is_evicted


@pytest.mark.promise("network")
def test_a_connection_whose_request_arrives_does_not_make_way(clock: list[float]) -> None:
    """A connection is not idle if bytes have arrived that no one has read."""
    pool = connections(max_per_source=1)
    busy = admit(pool, "127.0.0.1")
    use(busy)
    busy.has_unread = lambda: True
    clock[0] = 60
    assert pool.admit("127.0.0.1") is None
    busy.has_unread = lambda: False
    admit(pool, "127.0.0.1")


def test_the_only_connection_of_an_address_makes_way(clock: list[float]) -> None:
    """An address with a limit of 1 is counted correctly after its connection was replaced."""
    pool = connections(max_per_source=1)
    use(admit(pool, "127.0.0.1"))
    clock[0] = 60
    second = admit(pool, "127.0.0.1")
    assert pool.admit("127.0.0.1") is None
    second.leave()
    admit(pool, "127.0.0.1")


def test_a_stop_ends_idle_connections_only() -> None:
    """A stop ends idle connections immediately, unused ones on request, and others after their request."""
    pool = connections()
    closed: list[str] = []
    names = ("idle", "unused", "arriving", "working", "half sent")
    _, unused, arriving, working, half_sent = made = [admit(pool, "127.0.0.1") for _ in names]
    for name, connection in zip(names, made, strict=True):
        connection.disconnect = lambda name=name: closed.append(name)
        if name != "unused":
            use(connection)
    unused.rest()
    arriving.has_unread = lambda: True
    working.work()
    half_sent.wait()
    pool.stop(unused=False)
    assert closed == ["idle"]
    assert all(connection.is_last for connection in (working, half_sent, arriving))
    # The next ones end when their request does.
    working.rest()
    assert closed == ["idle", "working"]
    later = admit(pool, "127.0.0.1", closed)
    later.rest()
    assert closed == ["idle", "working"]
    pool.stop(unused=True)
    assert sorted(closed) == ["127.0.0.1", "idle", "unused", "working"]
    assert not arriving.is_evicted
    assert not half_sent.is_evicted
    # Once begun, the stop does not wait for unused ones again.
    pool.stop(unused=False)
    last = admit(pool, "127.0.0.1", closed)
    last.rest()
    assert last.is_evicted

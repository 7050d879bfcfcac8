"""The kinds of faults: injection, duration and end of each."""

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass

from tests.qa.faults.cluster import Cluster
from tests.qa.faults.network import Network, can_relay
from tests.qa.faults.service import Supervised
from tests.support.clocks import can_set_clock

_HOUR = 3_600
_DELAY_MILLISECONDS = 200


@dataclass(frozen=True, slots=True)
class Deployment:
    """The target of the faults."""

    cluster: Cluster
    service: Supervised


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault. It lasts *seconds* before it is ended, unless it ends by itself."""

    name: str
    seconds: float
    inject: Callable[[Deployment], AbstractContextManager[None]]
    #: The missing requirement of the machine, or an empty text.
    lacks: Callable[[Deployment], str] = lambda _: ""


@contextmanager
def _killed(deployment: Deployment, *numbers: int) -> Iterator[None]:
    members = [deployment.cluster.members[number] for number in numbers]
    for member in members:
        member.kill()
    try:
        yield
    finally:
        _start(deployment.cluster)


def _start(cluster: Cluster) -> None:
    for member in cluster.members:
        member.start()


def _primary_killed(deployment: Deployment) -> AbstractContextManager[None]:
    return _killed(deployment, deployment.cluster.primary())


def _secondary_killed(deployment: Deployment) -> AbstractContextManager[None]:
    return _killed(deployment, deployment.cluster.primary() - 1)


def _all_killed(deployment: Deployment) -> AbstractContextManager[None]:
    return _killed(deployment, *range(len(deployment.cluster.members)))


@contextmanager
def _worker_killed(deployment: Deployment) -> Iterator[None]:
    deployment.service.kill_worker()
    yield


@contextmanager
def _master_killed(deployment: Deployment) -> Iterator[None]:
    deployment.service.kill_master()
    yield


@contextmanager
def _worker_and_primary_killed(deployment: Deployment) -> Iterator[None]:
    with _primary_killed(deployment):
        deployment.service.kill_worker()
        yield


@contextmanager
def _primary_hung(deployment: Deployment) -> Iterator[None]:
    member = deployment.cluster.members[deployment.cluster.primary()]
    member.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        member.signal(signal.SIGCONT)


@contextmanager
def _stepped_down(deployment: Deployment) -> Iterator[None]:
    member = deployment.cluster.members[deployment.cluster.primary()]
    # It waits until another member has all of its writes.
    assert member.ask("replSetStepDown", 60, milliseconds=30_000), "the primary did not step down"
    yield


@contextmanager
def _disk_full(deployment: Deployment) -> Iterator[None]:
    with ExitStack() as stack:
        # The member may end in the meantime. To start again it needs free space.
        stack.callback(_start, deployment.cluster)
        stack.enter_context(deployment.cluster.disks[deployment.cluster.primary()].full())
        yield


def _network(deployment: Deployment) -> Network:
    assert deployment.cluster.network is not None
    return deployment.cluster.network


def _primary_partitioned(deployment: Deployment) -> AbstractContextManager[None]:
    return _network(deployment).partitioned(deployment.cluster.primary())


def _primary_cut_off(deployment: Deployment) -> AbstractContextManager[None]:
    return _network(deployment).cut(deployment.cluster.primary())


def _primary_slow(deployment: Deployment) -> AbstractContextManager[None]:
    return _network(deployment).slow(deployment.cluster.primary(), milliseconds=_DELAY_MILLISECONDS)


def _clock_ahead(deployment: Deployment) -> AbstractContextManager[None]:
    return deployment.service.clock(_HOUR)


def _clock_behind(deployment: Deployment) -> AbstractContextManager[None]:
    return deployment.service.clock(-_HOUR)


def _lacks_sandbox(deployment: Deployment) -> str:
    return (
        "" if deployment.cluster.network else "needs namespaces: root, or a system that lets users have them"
    )


def _lacks_relay(deployment: Deployment) -> str:
    return _lacks_sandbox(deployment) or ("" if can_relay() else "needs /dev/net/tun")


def _lacks_clock(_deployment: Deployment) -> str:
    return "" if can_set_clock() else "needs Debian's package libfaketime"


KINDS = (
    Kind("primary killed", 10, _primary_killed),
    Kind("secondary killed", 5, _secondary_killed),
    Kind("worker killed", 2, _worker_killed),
    Kind("master of the workers killed", 2, _master_killed),
    Kind("worker and primary killed", 10, _worker_and_primary_killed),
    Kind("primary hangs", 15, _primary_hung),
    Kind("primary steps down", 2, _stepped_down),
    Kind("all of MongoDB unavailable", 30, _all_killed),
    Kind("disk of the primary full", 10, _disk_full, _lacks_sandbox),
    Kind("primary partitioned from the others", 20, _primary_partitioned, _lacks_sandbox),
    Kind("primary cut off from all", 20, _primary_cut_off, _lacks_sandbox),
    Kind("200 ms on the way to the primary", 15, _primary_slow, _lacks_relay),
    Kind("the service's clock an hour ahead", 5, _clock_ahead, _lacks_clock),
    Kind("the service's clock an hour behind", 5, _clock_behind, _lacks_clock),
)

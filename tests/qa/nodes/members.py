"""MongoDB's members on the nodes, as a replica of the service sees them."""

import json
from dataclasses import dataclass

from tests.qa.deployment.engine import STACK
from tests.qa.nodes.cluster import Cluster, Node, wait_for

#: Asks each member itself, which needs no credential.
_STATES = """
import json
from concurrent.futures import ThreadPoolExecutor
from pymongo import MongoClient
from pymongo.errors import PyMongoError
from vault.common.config.settings import mongo_uri
from vault.common.mongodb_uri import parse_mongodb_uri

def ask(host):
    try:
        with MongoClient(*host, directConnection=True, timeoutMS=2000) as client:
            hello = client.admin.command("hello")
    except PyMongoError:
        return "silent", 0
    state = "primary" if hello["isWritablePrimary"] else "secondary" if hello["secondary"] else "other"
    return state, hello["lastWrite"]["opTime"]["ts"].time if "lastWrite" in hello else 0

hosts = parse_mongodb_uri(mongo_uri()).hosts
with ThreadPoolExecutor(len(hosts)) as pool:
    print(json.dumps({host[0]: answer for host, answer in zip(hosts, pool.map(ask, hosts))}))
"""
#: Seconds by which a member under load may be behind the primary. Times of writes are whole seconds.
_BEHIND_SECONDS = 2


@dataclass(frozen=True, slots=True)
class Member:
    """A member's name, state, and the second of its last write."""

    name: str
    state: str
    written: int


def members(cluster: Cluster) -> list[Member]:
    """Return all members; none without a replica that answers."""
    found = cluster.healthy()
    if found is None:
        return []
    node, container = found
    answer = node.docker("exec", container, "python", "-c", _STATES, check=False)
    return [Member(name, *state) for name, state in json.loads(answer or "{}").items()]


def are_in_step(found: list[Member]) -> bool:
    """Return whether one is the primary, and all others follow it closely."""
    states = sorted(member.state for member in found)
    if states != ["primary", "secondary", "secondary"]:
        return False
    times = [member.written for member in found]
    return max(times) - min(times) <= _BEHIND_SECONDS


def node_of(cluster: Cluster, member: Member) -> Node:
    """Return the reachable node on which *member* runs."""
    return next(
        node for node in cluster.nodes if not node.is_away and node.containers(f"{STACK}_{member.name}")
    )


def node_with(cluster: Cluster, state: str) -> Node:
    """Return the node of the first member in *state*, once there is one."""
    found = wait_for(
        lambda: [member for member in members(cluster) if member.state == state], what=f"a {state}"
    )
    return node_of(cluster, found[0])

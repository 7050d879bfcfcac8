"""Where MongoDB's members are: what `swarm deploy` decides before it changes anything."""

from typing import Any

import pytest

from tests.clients.swarm.deployment.world import World
from vault.clients.swarm.deployment.manager import Progress
from vault.clients.swarm.deployment.members import Placement
from vault.clients.swarm.deployment.program import DeploymentError
from vault.clients.swarm.deployment.stack import DeployedStack


def place(swarm: World) -> tuple[str, list[str], list[str]]:
    """Place MongoDB's members; return why it failed, what was said, and the changes."""
    said: list[str] = []
    placement = Placement(DeployedStack(Progress(said.append)))
    try:
        placement.find()
        placement.label()
    except DeploymentError as error:
        return str(error), said, sorted(swarm.made)
    return "", said, sorted(swarm.made)


def test_one_node_needs_no_label(swarm: World) -> None:
    """A single node stays unlabelled."""
    assert place(swarm) == ("", [], [])


def test_members_get_a_node_each_before_the_first_deployment(swarm: World) -> None:
    """Three ready nodes get a member each; other nodes, including one that is down, get none."""
    swarm.nodes_are("A down", "B ready active", "C ready drain", "D", "E", "F")
    why, _, made = place(swarm)
    assert why == ""
    assert made == ["label A none", "label B 1", "label C none", "label D 2", "label E 3", "label F none"]


def test_running_members_are_labelled_on_their_nodes(swarm: World) -> None:
    """For any order of the nodes, no label moves a member away from its data."""
    swarm.nodes_are(*"ABCD")
    swarm.secured(on="DAC")
    assert place(swarm)[2] == ["label A 2", "label B none", "label C 3", "label D 1"]


def test_the_label_of_a_node_that_is_down_counts(swarm: World) -> None:
    """While a member waits for its node, no other node gets its number."""
    swarm.nodes_are("A ready active 1", "B down active 2", "C ready drain 3", "D")
    swarm.secured(on="A  ")
    assert place(swarm)[::2] == ("", ["label D none"])


@pytest.mark.parametrize("names", ["AB", "ABC"])
def test_members_that_all_share_a_node_stay_there(swarm: World, names: str) -> None:
    """A deployment on one node stays on it when others join, with a message to the operator."""
    swarm.nodes_are(*names)
    swarm.secured(on="BBB")
    why, [said, *_], made = place(swarm)
    assert why == ""
    assert made == [f"label {node} none" for node in names if node != "B"]
    assert said == "All MongoDB members run on node B: if you lose it, you lose all data."


def test_members_on_two_nodes_share_one(swarm: World) -> None:
    """Two nodes are too few for a member each, so one node gets all of MongoDB."""
    swarm.nodes_are("A", "B")
    assert place(swarm)[::2] == ("", ["label B none"])


@pytest.mark.parametrize(
    ("lines", "members", "why"),
    [
        (["A", "B", "C"], "AAB", "share a node"),
        (["A", "B ready active 2", "C ready active none"], "ABA", "share a node"),
        (["A", "B", "C"], "A B", "mongodb-2 is not running and no node has its label"),
        (
            ["A ready active 1", "B", "C ready active 3"],
            "BBC",
            "mongodb-1 runs on node B, but node A has its",
        ),
    ],
)
def test_no_label_that_would_move_a_member_is_set(
    swarm: World, lines: list[str], members: str, why: str
) -> None:
    """If members share nodes, or are on unexpected ones, the operator must move them."""
    swarm.nodes_are(*lines)
    swarm.secured(on=members)
    reason, _, made = place(swarm)
    assert why in reason
    assert made == []


def test_a_node_that_is_down_is_named_before_a_missing_member(swarm: World) -> None:
    """If a member has no node because one is down, the reason is the second line."""
    swarm.nodes_are("A", "B down")
    swarm.secured(on="A A")
    assert place(swarm)[1] == ["Node node-b is down."]


def test_labels_that_leave_members_no_node_are_refused(swarm: World) -> None:
    """With one manual label and too few nodes for the rest, nothing is changed."""
    swarm.nodes_are("A ready active 1", "B", "C down")
    why, _, made = place(swarm)
    assert "no node available for replica set members 2 3" in why
    assert made == []


def test_states_of_nodes_are_awaited(swarm: World) -> None:
    """A new leader learns the states of nodes within a minute; then, they count as they are."""
    swarm.nodes_are("A unknown")
    node: Any = swarm.nodes[0]
    placement = Placement(DeployedStack(Progress(print)))
    swarm.at(10, lambda: node["Status"].update(State="ready"))
    placement.await_nodes()
    assert swarm.time == 10
    node["Status"]["State"] = "unknown"
    placement.await_nodes()
    assert swarm.time == 70

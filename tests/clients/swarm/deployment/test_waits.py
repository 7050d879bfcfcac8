"""Waits for services and jobs, with answers of Docker that change with the time."""

from collections.abc import Callable
from http.client import BadStatusLine
from ssl import SSLCertVerificationError
from typing import Any

import pytest

from tests.clients.swarm.deployment.world import API, EARLIER, LATER, NOW, Job, World
from vault.clients.swarm.deployment import jobs as module
from vault.clients.swarm.deployment import ports
from vault.clients.swarm.deployment.jobs import Jobs
from vault.clients.swarm.deployment.manager import Manager, Progress
from vault.clients.swarm.deployment.members import Placement
from vault.clients.swarm.deployment.program import DeploymentError, Program
from vault.clients.swarm.deployment.stack import DeployedStack
from vault.clients.swarm.engine import ChangedError

NAME = "secret-manager_name"


@pytest.fixture
def said() -> list[str]:
    """Return what the operator is told."""
    return []


@pytest.fixture
def stack(swarm: World, said: list[str]) -> DeployedStack:
    """Return the stack with a service of two tasks."""
    swarm.service("name", replicas=2)
    return DeployedStack(Progress(said.append))


@pytest.fixture
def jobs(swarm: World, said: list[str]) -> Jobs:
    """Return the jobs on a swarm with the deployed service."""
    swarm.secured()
    return Jobs(DeployedStack(Progress(said.append)), Program())


def state(swarm: World, state: str, name: str = NAME) -> None:
    """Set the state of a service's update."""
    swarm.services[name]["UpdateStatus"] = {"State": state, "StartedAt": NOW}


def waiting(swarm: World, *created: str) -> None:
    """Let one task wait for a node, beside running ones."""
    running = [swarm.task(NAME, number) | {"CreatedAt": moment} for number, moment in enumerate(created)]
    swarm.tasks[NAME] = [*running, swarm.task(NAME, 9, "") | {"CreatedAt": LATER}]


def test_an_update_is_awaited(swarm: World, stack: DeployedStack, said: list[str]) -> None:
    """The wait ends with the update; a long one says at times what it is for."""
    swarm.updating(70, NAME)
    stack.await_update(NAME)
    assert swarm.time == 70
    why = f"Docker replaces the tasks of {NAME}, one by one (docker service ps {NAME})"
    assert said == [f"Still waiting after {seconds} s: {why}." for seconds in (30, 60)]


def test_a_change_without_an_update_ends_soon(swarm: World, stack: DeployedStack) -> None:
    """Docker does not replace a task for another constraint that its node meets."""
    stack.await_update(NAME)
    assert swarm.time == 15


@pytest.mark.parametrize("ended", ["paused", "rollback_completed", "rollback_paused"])
def test_a_failed_update_is_told(swarm: World, stack: DeployedStack, ended: str) -> None:
    """An update that Docker gave up has failed."""
    state(swarm, ended)
    with pytest.raises(DeploymentError, match=rf"the update of {NAME} failed \({ended}\)"):
        stack.await_update(NAME)


def test_an_update_has_a_limit(swarm: World, stack: DeployedStack) -> None:
    """An update that does not end is given up."""
    state(swarm, "updating")
    with pytest.raises(DeploymentError, match="did not finish"):
        stack.await_update(NAME)
    assert swarm.time == 600


def test_an_update_continues_beside_a_task_without_a_node(swarm: World, stack: DeployedStack) -> None:
    """While other tasks are replaced, a task that no node can run does not end the wait."""
    swarm.updating(100, NAME)
    for moment in range(0, 100, 10):
        swarm.at(moment, lambda moment=moment: waiting(swarm, *[NOW] * (moment % 20 + 1)))  # type: ignore[misc]
    waiting(swarm, EARLIER)
    stack.await_update(NAME)
    assert swarm.time == 100


def test_an_update_continues_while_a_task_starts(swarm: World, stack: DeployedStack) -> None:
    """A task that starts is progress, too."""
    swarm.updating(100, NAME)
    waiting(swarm, NOW)
    swarm.tasks[NAME][0]["Status"]["State"] = "preparing"
    stack.await_update(NAME)
    assert swarm.time == 100


def test_an_update_is_over_without_a_node_for_another_task(
    swarm: World, stack: DeployedStack, said: list[str]
) -> None:
    """If only the task without a node is left, the update is over; with an earlier task it has failed."""
    state(swarm, "updating")
    waiting(swarm, LATER)
    stack.await_update(NAME)
    assert said == [f"All running tasks of {NAME} are updated. No node can run another: no suitable node."]
    for created in ((EARLIER, LATER), ()):
        waiting(swarm, *created)
        with pytest.raises(
            DeploymentError, match=f"no node can run the new task of {NAME}: no suitable node"
        ):
            stack.await_update(NAME)


def test_replicas_are_awaited(swarm: World, stack: DeployedStack, said: list[str]) -> None:
    """The wait ends once all are ready, or as many as nodes can run; it has a limit."""
    swarm.service("secret-manager", replicas=2)
    stack.await_replicas(2, str)
    assert swarm.time == 0
    swarm.tasks[API][1] = swarm.task(API, 1, "")
    stack.await_replicas(2, str)
    assert said == ["1 of 2 replicas are ready. No node can run another: no suitable node."]
    swarm.tasks[API].clear()
    with pytest.raises(DeploymentError, match="the service did not become ready; the reason"):
        stack.await_replicas(2, lambda: "the reason")


def test_the_replica_set_is_awaited(swarm: World, stack: DeployedStack, said: list[str]) -> None:
    """The wait ends with the job that makes it; it has a limit."""
    job = swarm.service("replica-set")
    swarm.at(70, lambda: job["ServiceStatus"].update(CompletedTasks=1))
    stack.await_replica_set(str)
    assert swarm.time == 70
    assert said[0].endswith("prepares MongoDB (docker service logs secret-manager_replica-set).")
    job["ServiceStatus"]["CompletedTasks"] = 0
    with pytest.raises(DeploymentError, match="MongoDB is not ready; the reason"):
        stack.await_replica_set(lambda: "the reason")


def test_the_culprit_is_named(swarm: World, stack: DeployedStack) -> None:
    """A member that should run is the first reason, then the replica set, then the service."""
    swarm.secured(on="A  ")
    placement = Placement(stack)
    placement.homes, placement.absent = {"1": "A", "2": "B", "3": "C"}, ["2"]
    assert placement.culprit().startswith("secret-manager_mongodb-3 does not run")
    placement.absent.append("3")
    assert placement.culprit() == f"for the reason, run docker service logs {API}"
    swarm.services["secret-manager_replica-set"]["ServiceStatus"]["CompletedTasks"] = 0
    assert placement.culprit().startswith("the replica set is not ready either")


def test_an_unanswered_question_ends_no_wait(swarm: World, stack: DeployedStack) -> None:
    """While the swarm elects a leader, each wait goes on."""
    state(swarm, "completed")
    swarm.leaderless_until = 20
    stack.await_update(NAME)
    assert swarm.time == 20


QUESTIONS: list[Callable[[DeployedStack], Any]] = [
    lambda stack: stack.setting("MASTER_KEY_FILE"),
    lambda stack: stack.running(NAME),
    lambda stack: stack.find(NAME),
    lambda stack: stack.config(NAME),
    lambda stack: stack.nodes(),
]


@pytest.mark.parametrize("ask", QUESTIONS)
def test_an_unanswered_question_is_not_a_no(
    swarm: World, stack: DeployedStack, ask: Callable[[DeployedStack], Any]
) -> None:
    """If the swarm does not answer, nothing concludes that a service does not exist or does not run."""
    swarm.leaderless_until = 1_000
    with pytest.raises(DeploymentError, match="the swarm does not answer; run this command again"):
        ask(stack)
    assert swarm.time == 30


def test_a_replica_on_this_node_is_taken(
    swarm: World, stack: DeployedStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The container is that of a replica that runs here, and that no update stops."""
    swarm.service("secret-manager", on="B")
    swarm.node("B")
    assert (stack.replica(), stack.elsewhere()) == ("", "node-b")
    swarm.tasks[API] += [swarm.task(API, 1, "A") | {"DesiredState": "ready"}, swarm.task(API, 2, "A")]
    assert stack.replica() == "container-of-this-node"
    monkeypatch.setattr(Manager, "containers", lambda *_, **__: [])
    assert stack.replica() == ""


def job(**more: Any) -> module.Job:
    """Return a job."""
    return module.Job(image="image", arguments=("keys", "status"), **more)


def test_a_job_has_what_the_commands_of_a_replica_have(swarm: World, jobs: Jobs) -> None:
    """A job gets the service's settings for the commands, its secrets, and the way to its audit sink."""
    container = swarm.container
    kept = ["AUDIT_ENABLED=false", "AUDIT_SINK=unix:///dev/log", "TOKEN_MAX_DAYS=3"]
    container["Env"] = [*kept, "LOG_LEVEL=debug"]
    container["Mounts"] = [{"Type": "bind", "Source": "/dev/log", "Target": "/dev/log"}]
    container["Secrets"] = [{"SecretName": "mongo_uri", "File": {"Name": "mongo_uri", "UID": "10001"}}]
    found = jobs.like_service(1, 2)
    file = {"Name": "mongo_uri", "UID": "1", "GID": "2", "Mode": 0o400}
    assert found == {
        "Mounts": container["Mounts"],
        "Configs": [],
        "Secrets": [{"SecretName": "mongo_uri", "File": file}],
        "Env": kept,
    }


def test_a_job_can_do_little(swarm: World, jobs: Jobs) -> None:
    """A job has no capabilities, a file system that it cannot change, and runs once, on this node."""
    swarm.ends["keys status"] = Job("printed")
    assert jobs.run(job(megabytes=256, networks=("more",))) == "printed"
    [made] = swarm.jobs
    template = made["TaskTemplate"]
    container = template["ContainerSpec"]
    assert (container["CapabilityDrop"], container["ReadOnly"], container["Init"]) == (["ALL"], True, True)
    assert template["Resources"] == {"Limits": {"MemoryBytes": 256 * 2**20}}
    assert template["RestartPolicy"] == {"Condition": "none"}
    assert template["Placement"] == {"Constraints": ["node.id==A"]}
    assert [one["Target"] for one in template["Networks"]] == ["secret-manager_mongodb-network", "more"]
    # A drained node takes no jobs, except those that must be there.
    swarm.nodes[0]["Spec"]["Availability"] = "drain"
    jobs.run(job())
    assert swarm.jobs[-1]["TaskTemplate"]["Placement"] == {"Constraints": []}
    jobs.run(job(is_here=True))
    assert swarm.jobs[-1]["TaskTemplate"]["Placement"] == {"Constraints": ["node.id==A"]}


def test_each_job_has_a_name_of_its_own(swarm: World, jobs: Jobs) -> None:
    """Docker can still have the container of an earlier job, so no name is used again; all are removed."""
    for _ in range(3):
        jobs.start(job())
    assert len({one["Name"] for one in swarm.jobs}) == 3
    assert [name for name in swarm.services if "-job-" in name] == [jobs.name]
    jobs.close()
    assert not [name for name in swarm.services if "-job-" in name]
    # Without an answer, they stay.
    swarm.leaderless_until = 1
    jobs.close()


def test_a_job_that_was_not_created_is_not_waited_for(swarm: World, jobs: Jobs) -> None:
    """If Docker refuses a job, the output of an earlier one is not taken for its output."""
    jobs.run(job())
    swarm.called.clear()
    swarm.nodes.clear()
    jobs.close()
    stack: Any = jobs.stack
    stack.ask = lambda _: (_ for _ in ()).throw(DeploymentError("no leader"))
    with pytest.raises(DeploymentError, match="no leader"):
        jobs.run(job())
    assert swarm.called == []


@pytest.mark.parametrize(
    ("end", "why"),
    [
        (Job(state="running", node="gone"), "node gone is lost"),
        (Job(state="running", node="B"), "node B is lost"),
        (Job(state="preparing"), "did not start, its state is preparing"),
        (Job(state="pending", error="no suitable node", node=""), "no node can run the command: no suitable"),
        (Job(state="rejected", error="no such image"), "the command failed: no such image"),
        (Job(state="failed", error="task: non-zero exit (3)"), r"the command failed: task: non-zero exit"),
    ],
    ids=["removed", "down", "never starts", "no room", "rejected", "failed"],
)
def test_a_job_that_cannot_end_is_given_up(swarm: World, jobs: Jobs, end: Job, why: str) -> None:
    """A wait for a job ends with the reason if its node is lost, or it cannot start."""
    swarm.node("B", "down")
    swarm.ends["keys"] = end
    with pytest.raises(DeploymentError, match=why):
        jobs.run(job())


def test_a_silent_swarm_is_given_up(swarm: World, jobs: Jobs) -> None:
    """A swarm that answers no more ends the wait for a job, after ten minutes."""
    jobs.start(job())
    swarm.leaderless_until = 10_000
    with pytest.raises(DeploymentError, match="the swarm does not answer"):
        jobs.wait("complete")
    assert swarm.time == 600
    # An answer without a task is none.
    swarm.leaderless_until = 0
    swarm.ends["keys"] = Job(state="")
    with pytest.raises(DeploymentError, match="the swarm does not answer"):
        jobs.wait("complete")


def test_a_running_job_has_no_limit(swarm: World, jobs: Jobs) -> None:
    """A backup can take hours, and elections of the swarm's leader do not end the wait for it."""
    swarm.ends["keys"] = lambda: Job(state="running" if swarm.time < 9_000 else "complete")
    for moment in range(0, 9_000, 600):
        swarm.at(moment, lambda moment=moment: setattr(swarm, "leaderless_until", moment + 30))  # type: ignore[misc]
    jobs.start(job())
    jobs.wait("complete")
    assert swarm.time == 9_000


def test_the_logs_of_another_node_have_a_limit(
    swarm: World, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a container here, the swarm has the logs; reading them sometimes does not end."""
    monkeypatch.setattr(Manager, "containers", lambda *_, **__: [])
    swarm.prints["service logs --raw"] = "printed"
    assert jobs.run(job()) == "printed"
    [(_, options)] = swarm.called
    assert options["timeout"] == 60


def test_a_change_that_another_one_overtakes_begins_again(swarm: World, stack: DeployedStack) -> None:
    """Docker refuses an update of what has changed since it was read; ten times are an error."""
    swarm.service("secret-manager")
    swarm.overtaken = 3
    stack.update_service(lambda container: container["Env"].append("A=a"))
    assert swarm.made == ["update secret-manager A=a"]
    swarm.overtaken = 10
    with pytest.raises(ChangedError):
        stack.update_service(lambda container: container["Env"].append("A=b"))


def test_an_update_that_changes_nothing_is_not_awaited(swarm: World, stack: DeployedStack) -> None:
    """Docker replaces no task if the specification stays."""
    swarm.service("secret-manager")
    stack.update_service(lambda _: None)
    assert swarm.time == 0


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (TimeoutError(), "timed out"),
        (SSLCertVerificationError(), "its certificate is not trusted, or has another name than VAULT_URL"),
        (OSError(113, "No route to host"), "No route to host"),
        (BadStatusLine("x"), "BadStatusLine"),
    ],
)
def test_silence_has_a_reason(error: Exception, why: str) -> None:
    """A request without a reply says why."""
    assert ports._none(error).refusal == f"no answer: {why}"

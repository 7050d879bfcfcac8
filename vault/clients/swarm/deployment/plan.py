"""The plan of a deployment: the differences between what runs and what it would deploy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vault.clients.swarm.deployment.manager import STACK, Found, Manager
from vault.clients.swarm.deployment.record import Record, is_secret

#: Before the name of a variable in a container.
_VARIABLE = "variable "
_REPLICATED = "replicated"
_MEBIBYTE = 2**20

#: The parts of a service as texts, by what they are. A part that is absent is empty or missing.
_Parts = dict[str, str]


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference: what is *now*, and *then*; empty if there is nothing."""

    #: A service of the stack, or a file of the checkout.
    place: str
    what: str
    now: str
    then: str


def of_services(stack: Manager, merged: Mapping[str, Any]) -> Iterator[Difference]:
    """Yield the differences between the services of *stack* and those of the *merged* stack file."""
    running = {one["Spec"]["Name"].removeprefix(f"{STACK}_"): one for one in stack.named(f"{STACK}_")}
    for name, one in sorted(merged["services"].items()):
        if name not in running:
            yield Difference(name, "service", "", "new")
            continue
        now, then = _running(running[name]["Spec"]), _merged(one, merged)
        if "@" not in then["image"]:
            # Docker adds the digest.
            now["image"] = now["image"].partition("@")[0]
        yield from _compared(name, now, then)
    for name in sorted(running.keys() - merged["services"].keys()):
        yield Difference(name, "service", "runs", "stays as it is: no stack file has it")


def of_files(before: Record, after: Record) -> Iterator[Difference]:
    """Yield the differences between the files of two deployments, of which only the names are shown."""
    changed = [name for name, text in after.files.items() if before.files.get(name, text) != text]
    yield from (Difference(name, "file", "of the last deployment", "changed") for name in sorted(changed))


def _compared(name: str, now: _Parts, then: _Parts) -> Iterator[Difference]:
    for what in sorted({*now, *then}):
        values = now.get(what, ""), then.get(what, "")
        if values[0] != values[1]:
            yield Difference(name, what, *(_shown(what, value) for value in values))


def _shown(what: str, value: str) -> str:
    variable = what.removeprefix(_VARIABLE) if what.startswith(_VARIABLE) else ""
    return "…" if variable and value and is_secret(variable, value) else value


def _merged(one: Mapping[str, Any], merged: Mapping[str, Any]) -> _Parts:
    """Return the parts of a service of a merged stack file."""
    deploy = one.get("deploy") or {}
    environment = {name: str(value) for name, value in (one.get("environment") or {}).items() if value}
    limits = (deploy.get("resources") or {}).get("limits") or {}
    return {
        "image": one["image"],
        "command": " ".join(one.get("command") or ()),
        "secrets": _sorted(_name(one, merged, "secrets") for one in one.get("secrets") or ()),
        "configs": _sorted(_name(one, merged, "configs") for one in one.get("configs") or ()),
        # Docker ignores `tmpfs` of a stack file.
        "mounts": _sorted(volume["target"] for volume in one.get("volumes") or ()),
        "ports": _sorted(
            _port(port.get("published"), port["target"], port.get("mode")) for port in one.get("ports") or ()
        ),
        "memory": _memory(limits.get("memory")),
        "constraints": _sorted((deploy.get("placement") or {}).get("constraints") or ()),
        "replicas": str(deploy.get("replicas", 1)) if deploy.get("mode", _REPLICATED) == _REPLICATED else "",
        **{f"{_VARIABLE}{name}": value for name, value in environment.items()},
    }


def _running(spec: Found) -> _Parts:
    """Return the parts of a service that runs."""
    template = spec["TaskTemplate"]
    container = template["ContainerSpec"]
    limits = (template.get("Resources") or {}).get("Limits") or {}
    variables = (one.partition("=") for one in container.get("Env") or ())
    return {
        "image": container["Image"],
        "command": " ".join(container.get("Args") or ()),
        "secrets": _sorted(one["SecretName"] for one in container.get("Secrets") or ()),
        "configs": _sorted(one["ConfigName"] for one in container.get("Configs") or ()),
        "mounts": _sorted(one["Target"] for one in container.get("Mounts") or ()),
        "ports": _sorted(
            _port(one.get("PublishedPort"), one["TargetPort"], one.get("PublishMode"))
            for one in (spec.get("EndpointSpec") or {}).get("Ports") or ()
        ),
        "memory": _memory(limits.get("MemoryBytes")),
        "constraints": _sorted((template.get("Placement") or {}).get("Constraints") or ()),
        "replicas": str(spec["Mode"].get("Replicated", {}).get("Replicas", "")),
        **{f"{_VARIABLE}{name}": value for name, _, value in variables if value},
    }


def _name(one: Mapping[str, Any], merged: Mapping[str, Any], kind: str) -> str:
    """Return Docker's name of a secret or config that a service of a stack file refers to."""
    return str(merged[kind][one["source"]].get("name") or f"{STACK}_{one['source']}")


def _port(published: int | str | None, target: int, mode: str | None) -> str:
    return f"{published or 'any'}:{target} ({mode or 'ingress'})"


def _memory(size: int | str | None) -> str:
    return f"{int(size) // _MEBIBYTE} MiB" if size else ""


def _sorted(texts: Iterable[str]) -> str:
    return " ".join(sorted(texts))

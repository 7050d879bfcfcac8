"""The commands `swarm rotate`, `follow` and `holders`: versions of a secret, and those that tasks have."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from vault.clients.swarm.engine import Engine
from vault.clients.swarm.rotation.follower import Follower
from vault.clients.swarm.rotation.holders import Holder, Holders
from vault.clients.swarm.rotation.lock import RotationLock
from vault.clients.swarm.rotation.restarts import Progress
from vault.clients.swarm.rotation.rotation import Rotation
from vault.clients.swarm.stored import Secret, Stored
from vault.toolkit.cli import parameters
from vault.toolkit.cli.connection import service_options
from vault.toolkit.cli.output import Output, output_options
from vault.toolkit.cli.value_input import new_value
from vault.toolkit.client.service import Service

_timeout_option = click.option(
    "--timeout",
    metavar="DURATION",
    type=parameters.duration,
    default="5m",
    show_default=True,
    help="The time for each service to become healthy.",
)


@click.command()
@click.argument("name")
@parameters.driver_option
@service_options
@output_options
def holders(name: str, driver: str, service: Service, output: Output) -> None:
    """Show which running tasks have which version.

    NAME is the name of a secret. The versions come from the audit trail. For a task without one, no
    delivery is on record: it got its value from the driver's cache, or before the trail begins.
    """
    stored = Stored(service)
    secret = stored.describe(name)
    with closing(Engine(driver)) as engine:
        found = Holders(engine, stored).of(secret)
    columns = {name: name for name in ("service", "task", "node", "state")} | {"version": _shown_version}
    output.table(columns, [_row(holder, secret) for holder in found])
    output.note(f"The newest version of {name} is {secret.version}.")


def _row(holder: Holder, secret: Secret) -> dict[str, object]:
    return {
        "service": holder.task.service.name,
        "task": holder.task.name,
        "task_id": holder.task.id,
        "node": holder.task.node,
        "state": holder.task.state,
        "version": holder.version,
        "newest_version": secret.version,
        "is_newest": holder.version == secret.version,
        "is_pinned": holder.is_pinned,
    }


def _shown_version(row: Mapping[str, Any]) -> str:
    if row["version"] is None:
        return "unknown: no delivery on record"
    notes = [("newest", row["is_newest"]), ("named by its labels", row["is_pinned"])]
    shown = ", ".join(text for text, holds in notes if holds)
    return f"{row['version']} ({shown})" if shown else str(row["version"])


@click.command()
@click.argument("name")
@click.argument("file", required=False, type=click.Path(allow_dash=True, dir_okay=False, path_type=Path))
@click.option(
    "--generate",
    metavar="N",
    type=click.IntRange(8, 1_024),
    help="A new random value of N letters and digits.",
)
@click.option(
    "--from-version", metavar="N", type=click.IntRange(1), help="The value of an earlier version, to go back."
)
@click.option("--resume", is_flag=True, help="Store nothing: continue with the newest version.")
@_timeout_option
@click.option(
    "--owner", metavar="TEXT", default="", help="The lock's owner, for others.  [default: host and process]"
)
@parameters.driver_option
@service_options
@output_options
def rotate(
    name: str,
    file: Path | None,
    generate: int | None,
    from_version: int | None,
    resume: bool,
    timeout: timedelta,
    owner: str,
    driver: str,
    service: Service,
    output: Output,
) -> None:
    """Store a new value and restart its services.

    NAME is the name of a secret. The value is read from FILE, from standard input (-), or from a hidden
    prompt. The services whose running tasks have an older version are restarted one after another. If one
    does not become healthy, the old value becomes the newest version again, and the services that have the
    bad one are restarted. See docs/swarm-rotation.md.
    """
    if sum([file is not None, generate is not None, from_version is not None, resume]) > 1:
        raise click.UsageError("Use one of FILE, --generate, --from-version and --resume.")
    given = None if str(file) == "-" else file
    value = None if resume or from_version else new_value(name, given, generate, output)
    with closing(Engine(driver)) as engine, (lock := RotationLock(engine, name, owner=owner)).held():
        rotation = Rotation(
            name,
            service=service,
            engine=engine,
            lock=lock,
            progress=_progress(output),
            timeout_seconds=timeout.total_seconds(),
        )
        if value is not None:
            version = rotation.run(value)
        elif from_version:
            version = rotation.go_back(from_version)
        else:
            version = rotation.resume()
    output.result(
        {"event": "rotated", "name": name, "version": version, "services": rotation.restarted},
        f"version {version} of {name} is in use",
    )


@click.command()
@click.option(
    "--interval",
    metavar="DURATION",
    type=parameters.duration,
    default="30s",
    show_default=True,
    help="The time between two looks for rotations.",
)
@_timeout_option
@parameters.driver_option
@service_options
@output_options
def follow(interval: timedelta, timeout: timedelta, driver: str, service: Service, output: Output) -> None:
    """Restart services after rotations at the source.

    Runs on a manager of a swarm, with the token of its driver, until it is stopped. Once a rotation plan has
    published a new password, the services whose running tasks have an older one are restarted one after
    another. When those tasks have ended, the service closes the former password. See docs/swarm-rotation.md.
    """
    with closing(Engine(driver)) as engine:
        follower = Follower(
            service, engine, progress=_progress(output), timeout_seconds=timeout.total_seconds()
        )
        output.note("following rotations")
        # The orchestrator's stop, and Ctrl-C.
        with suppress(KeyboardInterrupt):
            follower.run(interval.total_seconds())


def _progress(output: Output) -> Progress:
    is_gone = False

    def report(event: str, text: str, **data: object) -> None:
        nonlocal is_gone
        if is_gone:
            return
        try:
            if output.as_json:
                output.result({"event": event, "text": text, **data}, text)
            else:
                output.note(text)
        except OSError:
            # A rotation continues without a reader of its steps: half of one is worse.
            is_gone = True

    return report

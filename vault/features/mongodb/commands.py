"""The commands `replicaset initiate`, `status` and `grant`."""

import time
from datetime import timedelta
from typing import IO

import click

from vault.common.config.settings import audit_ttl_days, mongo_uri
from vault.common.errors import StorageUnavailableError
from vault.common.mongodb_uri import parse_mongodb_uri
from vault.common.text import quantity
from vault.core.documents.primary import MIN_MEMBERS
from vault.features.mongodb.errors import ReplicaSetError
from vault.features.mongodb.replicaset import NO_ANSWER, PAUSE_SECONDS, ReplicaSet, is_complete
from vault.features.mongodb.service_user import ServiceUser
from vault.toolkit.cli import parameters
from vault.toolkit.cli.output import Output, output_options


@click.group()
def replicaset() -> None:
    """MongoDB's replica set: create it, show it, grant privileges."""


@replicaset.command()
@click.option(
    "--key-file", metavar="FILE", type=parameters.TEXT_FILE, help="The members' key file, if they have one."
)
@click.option(
    "--root-password-file", metavar="FILE", type=parameters.TEXT_FILE, help="The password for the user root."
)
@click.option(
    "--timeout",
    "limit",
    metavar="DURATION",
    type=parameters.duration,
    default="2m",
    show_default=True,
    help="Wait so long for the members, which may just be starting.",
)
@output_options
def initiate(
    output: Output, key_file: IO[str] | None, root_password_file: IO[str] | None, limit: timedelta
) -> None:
    """Create MONGO_URI's replica set from the members it lists.

    Waits for its primary. With --key-file, also creates the users root and MONGO_URI's own, and the audit
    trail's indexes and retention (AUDIT_TTL_DAYS). MONGO_URI's user gets exactly the privileges that the
    service needs: it cannot change or remove audit entries. Safe to repeat: an existing set stays unchanged,
    and users get these passwords.
    """
    if bool(key_file) != bool(root_password_file):
        raise click.UsageError("--key-file and --root-password-file belong together.")
    uri = mongo_uri()
    key = key_file.read() if key_file else None
    root_password = root_password_file.read().removesuffix("\n") if root_password_file else None
    days = audit_ttl_days()
    replica_set = ReplicaSet(uri, key=key)
    replica_set.initiate(
        root_password=root_password, audit_ttl_days=days, timeout_seconds=limit.total_seconds()
    )
    output.result({"state": "ready", "members": replica_set.size}, "The replica set is ready.")
    if root_password is None and parse_mongodb_uri(uri).username:
        output.note("note: users are created only with --key-file and --root-password-file")
    if replica_set.size < MIN_MEMBERS:
        output.note(f"warning: {quantity(replica_set.size, 'member')}: no node may be lost")


@replicaset.command()
@click.option(
    "--wait",
    "limit",
    metavar="DURATION",
    type=parameters.duration,
    help="Maximum wait for a complete set.",
)
@output_options
def status(output: Output, limit: timedelta | None) -> None:
    """Show the state of each member.

    Asks each member in MONGO_URI itself, without a credential. Exits with 1 unless one is the primary and all
    others are secondaries with its data, which can replace it.
    """
    replica_set = ReplicaSet(mongo_uri())
    deadline = time.monotonic() + (limit.total_seconds() if limit else 0)
    while not is_complete(states := replica_set.states()) and time.monotonic() < deadline:
        time.sleep(PAUSE_SECONDS)
    if set(states.values()) == {NO_ANSWER}:
        raise StorageUnavailableError("no member of the replica set answers")
    rows = [{"member": member, "state": state} for member, state in states.items()]
    output.table({"member": "member", "state": "state"}, rows)
    if not is_complete(states):
        raise ReplicaSetError("the replica set is not complete", hint="see the log of each other member")


@replicaset.command()
@click.option(
    "--admin-uri-file",
    metavar="FILE",
    type=parameters.TEXT_FILE,
    required=True,
    help="Connection string of an administrator, such as root.",
)
@output_options
def grant(output: Output, admin_uri_file: IO[str]) -> None:
    """Give MONGO_URI's user exactly the service's privileges.

    For a MongoDB that `initiate`, or an older version of it, did not set up. Creates the user if it does not
    exist, and removes its other roles. Also builds the indexes of the audit trail, and sets its retention
    (AUDIT_TTL_DAYS). Safe to repeat, and while the service runs.
    """
    admin_uri = admin_uri_file.read().removesuffix("\n")
    ServiceUser(mongo_uri()).grant(admin_uri, audit_ttl_days=audit_ttl_days())
    output.result({"state": "granted"}, "The privileges are granted.")

"""Make the replica set of MongoDB servers that have just been started, and grant the service its rights."""

from typing import IO

import click

from vault.documents.replica_set import ReplicaSet
from vault.documents.service_user import ServiceUser
from vault.settings import audit_ttl_days, mongo_uri

#: Seconds; all members may just be starting.
_TIMEOUT_SECONDS = 120


@click.group()
def replicaset() -> None:
    """Make MongoDB's replica set, and grant privileges there."""


@replicaset.command()
@click.option("--key-file", type=click.File(), help="The members' own key file, if they have one.")
@click.option("--root-password-file", type=click.File(), help="The password of the user root to be there.")
def initiate(key_file: IO[str] | None, root_password_file: IO[str] | None) -> None:
    """Make the replica set that MONGO_URI names of the members that it names, and wait for its primary.

    With access control also make MongoDB's users, root and MONGO_URI's own, and the audit trail's indexes
    and retention (AUDIT_TTL_DAYS). MONGO_URI's user gets exactly the privileges that the service needs: it
    cannot change or remove audit entries. Safe to repeat: a set that is there is left as it is, users get
    the passwords given here.
    """
    if bool(key_file) != bool(root_password_file):
        raise click.UsageError("--key-file and --root-password-file belong together.")
    uri = mongo_uri()
    key = key_file.read() if key_file else None
    root_password = root_password_file.read().removesuffix("\n") if root_password_file else None
    days = audit_ttl_days()
    ReplicaSet(uri, key=key).initiate(
        root_password=root_password, audit_ttl_days=days, timeout_seconds=_TIMEOUT_SECONDS
    )
    click.echo("The replica set is ready.")


@replicaset.command()
@click.option(
    "--admin-uri-file",
    type=click.File(),
    required=True,
    help="Connection string of an administrator, such as root.",
)
def grant(admin_uri_file: IO[str]) -> None:
    """Give MONGO_URI's user the service's privileges, and no others.

    For a MongoDB that `initiate` did not set up, or that an older version did. The user is made if it is not
    there, and keeps no other role. Also builds the indexes of the audit trail and sets its retention,
    AUDIT_TTL_DAYS. Safe to repeat, and while the service runs.
    """
    admin_uri = admin_uri_file.read().removesuffix("\n")
    ServiceUser(mongo_uri()).grant(admin_uri, audit_ttl_days=audit_ttl_days())
    click.echo("The privileges are granted.")

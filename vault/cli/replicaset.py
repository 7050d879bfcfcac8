"""Make the replica set of MongoDB servers that have just been started."""

from typing import IO

import click

from vault.documents.replica_set import ReplicaSet
from vault.settings import mongo_uri

#: Seconds; all members may just be starting.
_PATIENCE = 120


@click.group()
def replicaset() -> None:
    """Make MongoDB's replica set."""


@replicaset.command()
@click.option("--key-file", type=click.File(), help="The members' own key file, if they have one.")
@click.option("--root-password-file", type=click.File(), help="The password of the user root to be there.")
def initiate(key_file: IO[str] | None, root_password_file: IO[str] | None) -> None:
    """Make the replica set that MONGO_URI names of the members that it names, and wait for its primary.

    With access control also make MongoDB's users: root, and MONGO_URI's own, with the rights that the service
    needs. Safe to repeat: a set that is there is left as it is, users get the passwords given here.
    """
    if bool(key_file) != bool(root_password_file):
        raise click.UsageError("--key-file and --root-password-file belong together.")
    uri = mongo_uri()
    key = key_file.read() if key_file else None
    root_password = root_password_file.read().removesuffix("\n") if root_password_file else None
    ReplicaSet(uri, key=key).initiate(root_password=root_password, patience=_PATIENCE)
    click.echo("The replica set is ready.")

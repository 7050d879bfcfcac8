"""The commands `swarm …`, from a manager of the swarm: the deployment, and secrets of services."""

import click

from vault.toolkit.cli.lazy_group import LazyGroup

#: The function of each command, after its module.
_FUNCTIONS = {
    "check": "vault.clients.swarm.commands.check:check",
    "check-deployment": "vault.clients.swarm.commands.deployment:check_deployment",
    "deploy": "vault.clients.swarm.commands.deployment:deploy",
    "follow": "vault.clients.swarm.commands.rotation:follow",
    "holders": "vault.clients.swarm.commands.rotation:holders",
    "pin-images": "vault.clients.swarm.commands.deployment:pin_images",
    "rotate": "vault.clients.swarm.commands.rotation:rotate",
    "rotate-key": "vault.clients.swarm.commands.deployment:rotate_key",
    "rotate-secret": "vault.clients.swarm.commands.deployment:rotate_secret",
    "run": "vault.clients.swarm.commands.deployment:run",
}


@click.group(cls=LazyGroup, functions=_FUNCTIONS)
def swarm() -> None:
    """Manage a deployment on a swarm and its services' secrets."""

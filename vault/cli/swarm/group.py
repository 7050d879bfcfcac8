"""The commands `swarm …`, from a manager of the swarm: the deployment, and secrets of services."""

import click

from vault.cli.shell.lazy_group import LazyGroup

#: The function of each command, after its module.
_FUNCTIONS = {
    "check": "vault.cli.swarm.check:check",
    "check-deployment": "vault.cli.swarm.deployment:check_deployment",
    "deploy": "vault.cli.swarm.deployment:deploy",
    "follow": "vault.cli.swarm.rotation:follow",
    "holders": "vault.cli.swarm.rotation:holders",
    "import": "vault.cli.swarm.imports:swarm_import",
    "import-task": "vault.cli.swarm.imports:import_task",
    "pin-images": "vault.cli.swarm.deployment:pin_images",
    "rotate": "vault.cli.swarm.rotation:rotate",
    "rotate-key": "vault.cli.swarm.deployment:rotate_key",
    "rotate-secret": "vault.cli.swarm.deployment:rotate_secret",
    "run": "vault.cli.swarm.deployment:run",
}


@click.group(cls=LazyGroup, functions=_FUNCTIONS)
def swarm() -> None:
    """Manage a deployment on a swarm and its services' secrets."""

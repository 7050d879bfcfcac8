"""The commands `swarm …`: secrets of Docker Swarm's services, from a manager of the swarm."""

import click

from vault.cli.shell.lazy_group import LazyGroup

#: The function of each command, after its module.
_FUNCTIONS = {
    "check": "vault.cli.swarm.check:check",
    "follow": "vault.cli.swarm.rotation:follow",
    "holders": "vault.cli.swarm.rotation:holders",
    "import": "vault.cli.swarm.imports:swarm_import",
    "import-task": "vault.cli.swarm.imports:import_task",
    "rotate": "vault.cli.swarm.rotation:rotate",
}


@click.group(cls=LazyGroup, functions=_FUNCTIONS)
def swarm() -> None:
    """Manage secrets of Docker Swarm's services."""

"""The commands `swarm …`: secrets of Docker Swarm's services, from a manager of the swarm."""

import click

from vault.cli.lazy_group import LazyGroup

#: The function of each command, after its module.
_FUNCTIONS = {
    "check": "vault.cli.swarm_check:check",
    "holders": "vault.cli.swarm_rotation:holders",
    "import": "vault.cli.swarm_import:swarm_import",
    "import-task": "vault.cli.swarm_import:import_task",
    "rotate": "vault.cli.swarm_rotation:rotate",
}


@click.group(cls=LazyGroup, functions=_FUNCTIONS)
def swarm() -> None:
    """Manage secrets of Docker Swarm's services."""

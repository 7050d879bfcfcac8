"""Run the service."""

import os
import sys

import click

from vault.settings import Settings


@click.command()
def serve() -> None:
    """Run the service under gunicorn, configured by the environment."""
    # Here too, and not only by gunicorn: wrong settings are one plain message.
    Settings.from_environment()
    # Nothing looks for modules in the working folder: a folder `gunicorn` or `flask` there would run, and see
    # the master key. A variable, not `-P`: gunicorn starts itself again on SIGUSR2.
    os.environ["PYTHONSAFEPATH"] = "1"
    # In place of this process, so that signals from the supervisor reach gunicorn itself. Its configuration
    # is named: a gunicorn.conf.py in the working folder would be loaded unasked.
    arguments = [
        "-m",
        "vault.run_gunicorn",
        "--config",
        "python:vault.server",
        "vault.app:from_environment()",
    ]
    os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606 - nothing in it comes from outside

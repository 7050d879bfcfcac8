"""gunicorn, without the working folder on the module search path: `python -m vault.server`."""

import os
import sys

from vault.common.processes import harden

# Before the other modules are loaded, which takes a second: keys may be handed down to this process.
harden()

from gunicorn.app.wsgiapp import WSGIApplication  # noqa: E402

# Imported before gunicorn, the package is empty. Imported again as `--config python:vault.server`, it is not.
# On SIGUSR2, gunicorn runs this file as a script: then the package was not imported.
sys.modules.pop("vault.server", None)


class _Application(WSGIApplication):  # type: ignore[misc] # gunicorn is not typed
    def chdir(self) -> None:
        """Change to the configured folder. gunicorn also puts it first on the search path."""
        os.chdir(self.cfg.chdir)


_Application("%(prog)s [OPTIONS] [APP_MODULE]", prog="gunicorn").run()

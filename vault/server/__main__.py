"""gunicorn, without the working folder on the module search path: `python -m vault.server`."""

import os

from gunicorn.app.wsgiapp import WSGIApplication


class _Application(WSGIApplication):  # type: ignore[misc] # gunicorn is not typed
    def chdir(self) -> None:
        """Change to the configured folder. gunicorn also puts it first on the search path."""
        os.chdir(self.cfg.chdir)


_Application("%(prog)s [OPTIONS] [APP_MODULE]", prog="gunicorn").run()

"""The service under gunicorn: configuration, worker, connections and patches of gevent.

`gunicorn --config python:vault.server` takes its settings from the names of this module. Anything else that
imports this package must not be patched or configured.
"""

import sys

if "gunicorn.app.wsgiapp" in sys.modules:
    from vault.server.gunicorn_conf import *  # noqa: F403 - gunicorn reads them

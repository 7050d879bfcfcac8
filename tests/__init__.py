"""The promises of the service, each held by a test."""

import atexit
import os
import shutil
import tempfile

# Where this process measures: `vault.observability.metrics` looks there once, when it is loaded.
os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="measured-")
atexit.register(shutil.rmtree, os.environ["PROMETHEUS_MULTIPROC_DIR"])

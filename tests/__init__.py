"""The promises of the service, each verified by a test."""

import atexit
import os
import shutil
import tempfile

# The metrics folder of this process: `vault.common.observability.metrics` reads it once, on import.
os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="measured-")
atexit.register(shutil.rmtree, os.environ["PROMETHEUS_MULTIPROC_DIR"])

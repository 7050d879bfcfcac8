"""Check that the service imports only packages that `setup.cfg` declares, which deptry does not read.

Dependencies of the tests, the load tests and the trial are not declared for the service.
"""

from configparser import ConfigParser
from tempfile import NamedTemporaryFile

from deptry.cli import cli

NOT_OF_THE_SERVICE = {"test", "bench", "embedded"}

setup = ConfigParser()
setup.read("setup.cfg")
declared = [setup["options"]["install_requires"]]
for extra, packages in setup["options.extras_require"].items():
    if extra not in NOT_OF_THE_SERVICE:
        declared.append(packages)
with NamedTemporaryFile("w", suffix=".txt") as requirements:
    requirements.write("\n".join(declared))
    requirements.flush()
    cli([".", "--requirements-files", requirements.name])

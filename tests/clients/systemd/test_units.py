"""The unit files, and a real systemd that runs them."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.docs.documents import ROOT, blocks
from tests.support import system
from tests.support.waiting import wait_until
from vault.clients.dev.mongod import find_mongod
from vault.common.config.settings import declared

pytestmark = pytest.mark.process

_UNITS = ROOT / "deploy/systemd"
_SERVICES = (
    *("secret-manager", "secret-manager-backup", "secret-manager-credentials"),
    "secret-manager-swarm-driver",
)
_CREDENTIAL = "LoadCredential=db-password:/run/secret-manager/credential.sock"
_ROTATION = "Rotate under systemd"
#: systemd's exit code of a unit whose credentials cannot be loaded.
_NO_CREDENTIALS = 243

#: Shows the master key, like the document.
_DECRYPT = "systemd-creds decrypt --name=master-key master-key.cred -"

#: Starts MongoDB and the service, with a secret and a token for credentials. The files are where the document
#: has them; only the interpreter's path differs.
_SETUP = """
set -euo pipefail
export PYTHONPATH=/opt/checkout
sm() { /opt/secret-manager/bin/python -m vault.cli "$@"; }
cp /opt/checkout/deploy/systemd/secret-manager*.{service,socket} /etc/systemd/system/
for service in secret-manager:serve secret-manager-credentials:credentials \\
    'secret-manager-backup:backup schedule --once --to %S/secret-manager-backup'; do
    mkdir /etc/systemd/system/${service%:*}.service.d
    {
        printf '[Service]\\nEnvironment=PYTHONPATH=/opt/checkout\\nExecStart=\\n'
        echo "ExecStart=/opt/secret-manager/bin/python -m vault.cli ${service#*:}"
    } >/etc/systemd/system/${service%:*}.service.d/test.conf
done
sed 's|/opt/secret-manager/bin/secret-manager|/opt/secret-manager/bin/python -m vault.cli|' \\
    /opt/checkout/deploy/systemd/run_command.sh >/usr/local/sbin/secret-manager
chmod +x /usr/local/sbin/secret-manager
mkdir -p /etc/secret-manager /var/lib/mongodb-test
cd /etc/secret-manager
umask 077
uri='mongodb://localhost:27017/vault?replicaSet=rs0'
sm keys generate | tee /run/key | systemd-creds encrypt -q --name=master-key - master-key.cred
DECRYPT | cmp - /run/key
printf '%s' "$uri" | systemd-creds encrypt -q --name=mongo-uri - mongo-uri.cred
printf 'AUTH_ENABLED=true\\nBIND=127.0.0.1:8000\\nWEB_CONCURRENCY=1\\n' >service.env
printf 'SECRET_MANAGER_URL=http://127.0.0.1:8000\\n' >credentials.env
printf '[units."shop.service"]\\ndb-password = "shop/db-password"\\n' >credentials.toml
systemd-run -q --unit=mongod MONGOD --replSet rs0 --dbpath /var/lib/mongodb-test --bind_ip 127.0.0.1 \\
    --nounixsocket --quiet --wiredTigerCacheSizeGB 0.25
export MONGO_URI=$uri MASTER_KEY_FILE=/run/key AUTH_ENABLED=true
sm replicaset initiate
sm tokens create --name credentials --role driver --path shop/ |
    systemd-creds encrypt -q --name=token - credentials-token.cred
VAULT_TOKEN=$(sm tokens create --name writer --role writer)
systemctl start secret-manager.service secret-manager-credentials.socket
ss -Hltn sport = :8000 | grep -q .
until sm ready; do sleep 0.2; done
export VAULT_TOKEN
printf hush | sm secret set shop/db-password
"""


@pytest.mark.parametrize("service", _SERVICES)
def test_a_service_is_hardened(service: str) -> None:
    """`systemd-analyze` knows every line of a unit, and its exposure is at most 2.0."""
    if not shutil.which("systemd-analyze"):
        raise system.missing("needs systemd-analyze (Debian package: systemd)")
    unit = str(_UNITS / f"{service}.service")
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=20", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    assert judged.returncode == 0, judged.stdout
    assert "Unknown" not in judged.stderr


def test_the_units_name_settings_and_commands() -> None:
    """Credentials are files of settings that exist, and of variables of the command."""
    for name, command in (("secret-manager", "serve"), ("secret-manager-backup", "backup schedule .+")):
        unit = (_UNITS / f"{name}.service").read_text()
        credentials = dict(re.findall(r"(\w+)_FILE=%d/([\w-]+)", unit))
        assert set(credentials) == {"MASTER_KEY", "MONGO_URI"} <= declared().keys()
        assert list(credentials.values()) == re.findall(r"LoadCredentialEncrypted=([\w-]+):", unit)
        assert re.search(rf"^ExecStart=\S+/secret-manager {command}$", unit, re.MULTILINE)
    socket = (_UNITS / "secret-manager-credentials.socket").read_text()
    assert f"ListenStream={_CREDENTIAL.partition(':')[2]}" in socket
    assert f"\n{_DECRYPT} " in (ROOT / "docs/install-systemd.md").read_text()


@pytest.mark.parametrize("service", _SERVICES)
def test_a_service_of_root_cannot_name_units(service: str) -> None:
    """A process of root gets any unit's credentials, so our own services of root cannot reach the socket."""
    unit = (_UNITS / f"{service}.service").read_text().splitlines()
    assert "DynamicUser=yes" in unit or {"User=root", "InaccessiblePaths=-/run/secret-manager"} <= {*unit}


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine with systemd as its first process."""

    first: int

    def run(self, command: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a *command* of Bash there, at most five minutes."""
        enter = [
            "nsenter",
            f"--target={self.first}",
            "--mount",
            "--pid",
            "--uts",
            "--ipc",
            "--net",
            "--cgroup",
        ]
        clean = ["env", "-i", "PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"]
        done = subprocess.run(
            [*enter, *clean, "bash", "-c", command], capture_output=True, text=True, check=False, timeout=300
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    def start(self, unit: str) -> tuple[int, str]:
        """Run a unit that prints its credential; return its exit code and output."""
        show = 'cat "$CREDENTIALS_DIRECTORY/db-password"'
        done = self.run(
            f"systemd-run -q --unit={unit} --wait --pipe -p DynamicUser=yes -p {_CREDENTIAL} "
            f"sh -c {shlex.quote(show)}",
            check=False,
        )
        return done.returncode, done.stdout


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """Boot a machine that has MongoDB, the service, and the socket for credentials."""
    if os.geteuid() or not shutil.which("systemd-creds") or not Path("/lib/systemd/systemd").exists():
        raise system.missing("needs root and systemd (Debian packages: systemd systemd-sysv dbus)")
    groups = next(path for path in map(Path, ("/sys/fs/cgroup/unified", "/sys/fs/cgroup")) if path.is_dir())
    if not os.access(groups, os.W_OK):
        raise system.missing("needs a writable file system of control groups")
    group = groups / f"secret-manager-test-{os.getpid()}"
    group.mkdir()
    boot = ["bash", str(Path(__file__).with_name("boot.sh")), str(tmp_path), str(ROOT), sys.prefix]
    join = f"echo $$ >{group}/cgroup.procs; exec {shlex.join(boot)}"
    booting = subprocess.Popen(["bash", "-c", join], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        children = Path(f"/proc/{booting.pid}/task/{booting.pid}/children")
        wait_until(lambda: children.read_text().split())
        found = Machine(int(children.read_text()))
        is_up = "systemctl is-system-running 2>/dev/null"
        states = ("running", "degraded")
        wait_until(lambda: found.run(is_up, check=False).stdout.strip() in states, seconds=240, pause=0.2)
        mongod = str(find_mongod()).replace(sys.prefix, "/opt/secret-manager")
        found.run(_SETUP.replace("MONGOD", mongod).replace("DECRYPT", _DECRYPT))
        yield found
    finally:
        (group / "cgroup.kill").write_text("1")
        booting.wait()
        wait_until(lambda: "populated 0" in (group / "cgroup.events").read_text())
        for folder, _, _ in os.walk(group, topdown=False):
            Path(folder).rmdir()


@pytest.mark.nightly
def test_the_master_key_is_rotated_under_systemd(machine: Machine) -> None:
    """The document's commands rotate the key; a backup and its drill work in the folder of the caller."""
    [steps] = [block for block in blocks("docs/master-key.md", "bash") if block.heading == _ROTATION]
    ready = "until secret-manager ready; do sleep 0.2; done"
    restart = "systemctl restart secret-manager"
    machine.run(f"set -e\n{steps.text.replace(restart, f'{restart}; {ready}')}")
    status = json.loads(machine.run("secret-manager keys status --json").stdout)
    assert (status["role"], status["versions"]) == ("primary", 1)
    drilled = machine.run("cd /var/tmp; secret-manager backup b.tar; secret-manager drill b.tar")
    assert drilled.stdout.endswith("the backup is good\n")
    # The timer's unit, which does not show its copies to others.
    listed = machine.run("systemctl start secret-manager-backup; ls -A /var/lib/secret-manager-backup")
    assert re.fullmatch(r"\.vault-schedule\nvault-\d{8}T\d{6}Z\.tar\n", listed.stdout)
    # Invalid settings fail the start.
    machine.run("echo BIND=x >>/etc/secret-manager/service.env")
    assert machine.run(restart, check=False).returncode == 1


@pytest.mark.long
def test_systemd_gives_units_their_credentials(machine: Machine) -> None:
    """The hardened service runs; a unit gets its own credential, and fails rather than starts without one."""
    assert machine.start("shop") == (0, "hush")
    assert machine.start("other") == (_NO_CREDENTIALS, "")
    assert "hush" not in machine.run("journalctl -u secret-manager-credentials -o cat").stdout
    # A command of operators, by the script.
    assert "shop/db-password" in machine.run("secret-manager exposure --service shop.service").stdout
    # A killed server: the unit that waits for it must not start with an empty credential.
    machine.run("systemctl stop secret-manager")
    machine.run(
        f"systemd-run -q --no-block --unit=shop -p Type=oneshot -p RemainAfterExit=yes -p {_CREDENTIAL} true"
    )
    stored = "systemctl show -P NFileDescriptorStore secret-manager-credentials"
    wait_until(lambda: machine.run(stored).stdout.strip() == "1")
    machine.run("systemctl kill -s KILL secret-manager-credentials")
    state = "systemctl show -P ExecMainStatus -P Result shop"
    wait_until(lambda: set(machine.run(state).stdout.split()) == {str(_NO_CREDENTIALS), "exit-code"})
    machine.run("systemctl reset-failed shop; systemctl start secret-manager")
    assert machine.start("shop") == (0, "hush")

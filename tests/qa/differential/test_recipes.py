"""The recipes in docs/examples/vault: each does the same with this service as with OpenBao."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.docs.documents import ROOT
from tests.qa.differential.comparison import Observer, compare
from tests.qa.differential.deployers import DocoCd, Dokploy, Terraform
from tests.qa.differential.external_secrets import Operator
from tests.support.openbao import BAO, Server, Servers
from tests.support.system import missing, needs

pytestmark = pytest.mark.process

_FOLDER = ROOT / "docs/examples/vault"
_URL = "http://localhost:8000"

#: The environment of clients, with Ansible and its collection.
_CLIENTS = ROOT / "tests/qa/clients/.venv"
_PLAY = _CLIENTS / "bin/ansible-playbook"
_MODULES = _CLIENTS.with_name("node_modules")

#: The secret that the recipes use.
_SECRET = {"user": "app", "password": "a password"}


def recipe(name: str) -> str:
    """Return the text of the recipe's file *name*."""
    return (_FOLDER / name).read_text()


def run(
    server: Server, folder: Path, *command: str, timeout: float = 180, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Run *command* in *folder* with *settings*, and a token in `VAULT_TOKEN` and in the file `token`."""
    (folder / "token").write_text(server.tokens["admin"])
    return subprocess.run(
        command,
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "VAULT_TOKEN": server.tokens["admin"],
            **settings,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )


def shop(server: Server) -> None:
    """Store the secret of the recipes, and nothing else below `shop/`."""
    for name in ("db", "api", "cache/redis"):
        server.ask("DELETE", f"secret/metadata/shop/{name}")
    assert server.ask("POST", "secret/data/shop/db", {"data": _SECRET}).status == 200


def in_folder(program: Callable[[Server, Path, Observer], None]) -> Callable[[Server, Observer], None]:
    """Return *program* with a folder that is removed afterwards."""

    def with_folder(server: Server, see: Observer) -> None:
        with tempfile.TemporaryDirectory() as folder:
            program(server, Path(folder), see)

    return with_folder


@pytest.mark.parametrize("file", ["kv.py", "kv.mjs"])
def test_the_programs_for_a_library(servers: Servers, file: str) -> None:
    """The programs in Python and JavaScript create, read, are refused a second creation, and list."""
    interpreter = sys.executable
    if file == "kv.mjs":
        interpreter = needs("node", package="nodejs")
        if not _MODULES.is_dir():
            raise missing("needs node-vault (scripts/install_clients.sh)")

    def program(server: Server, folder: Path, see: Observer) -> None:
        server.ask("DELETE", "secret/metadata/shop/db")
        (folder / "node_modules").symlink_to(_MODULES)
        (folder / file).write_text(recipe(file).replace(_URL, server.url))
        done = run(server, folder, interpreter, file)
        see("printed", done.stdout)
        assert done.stdout.splitlines()[0] == "1 app", done.stderr
        assert "check-and-set parameter did not match the current version" in done.stdout

    compare(servers, f"recipe: {file}", in_folder(program))


def test_the_agent_as_supervisor(servers: Servers) -> None:
    """The program of the agent has the secrets as variables; its exit code is the agent's."""

    def program(server: Server, folder: Path, see: Observer) -> None:
        shop(server)
        (folder / "agent.hcl").write_text(recipe("agent-env.hcl").replace(_URL, server.url))
        (folder / "server").write_text('#!/bin/sh\necho "$DB_USER $DB_PASSWORD" > said\nexit 3\n')
        (folder / "server").chmod(0o700)
        done = run(server, folder, BAO, "agent", "-config=agent.hcl")
        see("exit", done.returncode)
        assert (folder / "said").read_text() == "app a password\n", done.stderr

    compare(servers, "recipe: supervisor", in_folder(program))


def test_the_agent_renders_the_file(servers: Servers) -> None:
    """The template becomes a file that only its owner can read."""

    def program(server: Server, folder: Path, see: Observer) -> None:
        shop(server)
        (folder / "agent.hcl").write_text(recipe("agent-files.hcl").replace(_URL, server.url))
        (folder / "database.ini.ctmpl").write_text(recipe("database.ini.ctmpl"))
        done = run(server, folder, BAO, "agent", "-config=agent.hcl")
        rendered = folder / "database.ini"
        see("file", {"exit": done.returncode, "text": rendered.read_text(), "mode": rendered.stat().st_mode})
        assert "password = a password" in rendered.read_text()

    compare(servers, "recipe: files", in_folder(program))


def test_external_secrets(servers: Servers) -> None:
    """The operator's requests fetch one key, all keys of a secret, and every secret below a path."""

    def program(server: Server, see: Observer) -> None:
        shop(server)
        server.ask("POST", "secret/data/shop/cache/redis", {"data": {"url": "redis://cache"}})
        store, resource = yaml.safe_load_all(recipe("external-secrets.yaml"))
        assert store["spec"]["provider"]["vault"]["server"] == _URL
        assert resource["spec"]["secretStoreRef"]["name"] == store["metadata"]["name"]
        for caller in ("admin", "reader"):
            operator = Operator(server, store, server.tokens[caller])
            assert operator.is_valid()
            see(caller, operator.secret(resource))
            assert operator.secret(resource).keys() == {"user", "password", "shop_db", "shop_cache_redis"}

    compare(servers, "recipe: external secrets", program)


def test_dokploy(servers: Servers) -> None:
    """Dokploy tests its connection, resolves references, and lists what a token reaches."""

    def program(server: Server, see: Observer) -> None:
        shop(server)
        for caller in ("admin", "reader"):
            dokploy = Dokploy(server, server.tokens[caller])
            see("test", dokploy.test())
            assert dokploy.value("shop/db:password") == "a password"
            assert {"shop/db:user", "shop/db:password"} <= {*dokploy.names()}
        see("wrong", Dokploy(server, "wrong").test())

    compare(servers, "recipe: dokploy", program)


def test_doco_cd(servers: Servers) -> None:
    """doco-cd resolves a reference without a namespace, for which it names `root`."""

    def program(server: Server, see: Observer) -> None:
        shop(server)
        see("value", DocoCd(server, server.tokens["reader"]).value("kv:secret:shop/db:password"))

    compare(servers, "recipe: doco-cd", program)


def test_terraform(servers: Servers) -> None:
    """An ephemeral secret is read with the token itself, or with a child of one that may create tokens."""

    def program(server: Server, see: Observer) -> None:
        shop(server)
        for caller in ("reader", "manager"):
            provider = Terraform(server, server.tokens[caller])
            see("version", provider.configure(skip_child_token=caller == "reader"))
            see("secret", provider.secret("shop/db"))
            see("first version", provider.secret("shop/db", 1))

    compare(servers, "recipe: terraform", program)


def test_ansible(servers: Servers) -> None:
    """Ansible plays the playbook: three lookups of the collection, and its module that writes."""
    if not shutil.which(_PLAY):
        raise missing("needs Ansible (scripts/install_clients.sh)")

    def program(server: Server, folder: Path, see: Observer) -> None:
        shop(server)
        (folder / "playbook.yml").write_text(recipe("playbook.yml"))
        settings = {"VAULT_ADDR": server.url, "ANSIBLE_COLLECTIONS_PATH": str(_CLIENTS)}
        done = run(server, folder, str(_PLAY), "playbook.yml", **settings)
        see("played", {"exit": done.returncode, "printed": done.stdout})
        assert "a key" in server.ask("GET", "secret/data/shop/api").text, done.stdout + done.stderr

    compare(servers, "recipe: ansible", in_folder(program))

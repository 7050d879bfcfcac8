"""The recipes in docs/examples/vault: each does the same with this service as with OpenBao."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hvac
import pytest
import yaml

from tests.docs.documents import ROOT
from tests.qa.differential.comparison import Observer, compare
from tests.qa.differential.deployers import DocoCd, Dokploy, Terraform
from tests.qa.differential.external_secrets import Operator
from tests.support.openbao import BAO, Server, Servers

pytestmark = pytest.mark.process

_FOLDER = ROOT / "docs/examples/vault"
_URL = "http://localhost:8000"

#: The secret that the recipes use.
_SECRET = {"user": "app", "password": "a password"}


def recipe(name: str) -> str:
    """Return the text of the recipe's file *name*."""
    return (_FOLDER / name).read_text()


def run(
    server: Server, folder: Path, *command: str, timeout: float = 180
) -> subprocess.CompletedProcess[str]:
    """Run *command* in *folder*, with a token in `VAULT_TOKEN` and in the file `token`."""
    (folder / "token").write_text(server.tokens["admin"])
    return subprocess.run(
        command,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "VAULT_TOKEN": server.tokens["admin"]},
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


def test_the_program_for_hvac(servers: Servers) -> None:
    """The program in Python creates, reads, is refused a second creation, and lists."""

    def program(server: Server, folder: Path, see: Observer) -> None:
        server.ask("DELETE", "secret/metadata/shop/db")
        (folder / "program.py").write_text(recipe("kv.py").replace(_URL, server.url))
        done = run(server, folder, sys.executable, "program.py")
        see("printed", done.stdout)
        assert done.stdout.splitlines()[0] == "1 app", done.stderr
        assert "check-and-set parameter did not match the current version" in done.stdout

    compare(servers, "recipe: hvac", in_folder(program))


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
    """The lookups and the module of the playbook make these calls of hvac."""

    def program(server: Server, see: Observer) -> None:
        shop(server)
        client = hvac.Client(server.url, token=server.tokens["admin"])
        [play] = yaml.safe_load(recipe("playbook.yml"))
        for task in play["tasks"]:
            for name, options in task.items():
                see(str(options), _ansible(client, name, options))

    compare(servers, "recipe: ansible", program)


def _ansible(client: hvac.Client, name: str, options: dict[str, Any]) -> Any:
    """Make the call of community.hashi_vault 7.1 for a task."""
    kv = client.secrets.kv.v2
    if name == "community.hashi_vault.vault_kv2_write":
        return kv.create_or_update_secret(path=options["path"], secret=options["data"])["data"]
    found = re.search(r"lookup\('community\.hashi_vault\.(\w+)', '([^']+)'\)", options["msg"])
    assert found, options
    lookup, path = found.groups()
    if lookup == "vault_kv2_get":
        return kv.read_secret_version(path, raise_on_deleted_version=True)["data"]["data"]["user"]
    if lookup == "vault_list":
        return client.list(path)["data"]
    assert lookup == "hashi_vault"
    path, _, key = path.partition(":")
    return client.read(path)["data"]["data"][key]

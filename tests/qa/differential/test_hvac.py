"""hvac, the Python client: its methods return and raise the same with this service as with OpenBao."""

import inspect
from collections.abc import Callable
from typing import Any

import hvac
import pytest
import requests
from hvac.api.secrets_engines.kv_v2 import KvV2

from tests.qa.differential.comparison import Observer, compare
from tests.support.issuer import sign
from tests.support.openbao import CLAIM, ROLE, TEAM, VALUE, Server, Servers

#: hvac's own calls of its own method.
pytestmark = pytest.mark.filterwarnings("ignore:The raise_on_deleted_version parameter:DeprecationWarning")

_PROGRAMS: list[Callable[[Server, Observer], None]] = []


def program(function: Callable[[Server, Observer], None]) -> Callable[[Server, Observer], None]:
    """Add *function* to the programs."""
    _PROGRAMS.append(function)
    return function


@pytest.mark.process
@pytest.mark.parametrize("each", _PROGRAMS, ids=lambda function: function.__name__)
def test_hvac_sees_the_same(servers: Servers, each: Callable[[Server, Observer], None]) -> None:
    """Results, exceptions and their messages are those of the real server."""
    compare(servers, f"hvac: {each.__name__}", each)


def test_the_programs_call_every_method() -> None:
    """The programs use every public method of hvac's KV version 2."""
    methods = {name for name, _ in inspect.getmembers(KvV2, inspect.isfunction) if not name.startswith("_")}
    source = "".join(inspect.getsource(each) for each in _PROGRAMS)
    assert {name for name in methods if f"kv.{name}" not in source} == set()


def client(server: Server, caller: str = "admin") -> hvac.Client:
    """Return a client with the token of *caller*."""
    return hvac.Client(server.url, token=server.tokens.get(caller, caller))


def called(function: Callable[..., Any], *arguments: object, **options: object) -> Any:
    """Return the result of a call, or its exception."""
    try:
        result = function(*arguments, **options)
    except hvac.exceptions.VaultError as error:
        return {"status": type(error).__name__, "errors": error.errors, "text": str(error)}
    if isinstance(result, requests.Response):
        return {"status": result.status_code, "text": result.text}
    return result


class Calls:
    """Calls methods of *target* and records the results."""

    def __init__(self, target: object, see: Observer) -> None:
        self._target = target
        self._see = see

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: object, **options: object) -> Any:
            result = called(getattr(self._target, name), *arguments, **options)
            shown = [*map(str, arguments), *(f"{key}={value}" for key, value in options.items())]
            self._see(f"{name}({', '.join(shown)[:90]})", result)
            return result

        return call


@program
def reads_and_writes(server: Server, see: Observer) -> None:
    kv = Calls(client(server).secrets.kv.v2, see)
    kv.read_secret("hvac/a", raise_on_deleted_version=True)
    kv.create_or_update_secret("hvac/a", {"user": "app", "n": {"x": [1, None, True, 1.5]}})
    kv.create_or_update_secret("hvac/a", {"\u00fc": "\u65e5\u672c"}, cas=1)
    kv.create_or_update_secret("hvac/a", {}, cas=1)
    kv.create_or_update_secret("hvac/a", {}, cas=0)
    kv.create_or_update_secret("hvac/new", {"a": 2**53 + 1}, cas=0)
    kv.create_or_update_secret("hvac/big", {"a": "x" * 65_000})
    kv.read_secret("hvac/a", raise_on_deleted_version=True)
    kv.read_secret("hvac/new", raise_on_deleted_version=True)
    kv.read_secret("hvac/big", raise_on_deleted_version=True)
    kv.read_secret_version("hvac/a", version=1, raise_on_deleted_version=True)
    kv.read_secret_version("hvac/a", version=9, raise_on_deleted_version=True)
    kv.patch("hvac/a", {"more": "x"})
    kv.patch("hvac/missing", {"more": "x"})
    kv.read_secret_version("hvac/a", raise_on_deleted_version=True)


@program
def states_of_versions(server: Server, see: Observer) -> None:
    kv = Calls(client(server).secrets.kv.v2, see)
    for number in range(4):
        kv.create_or_update_secret("hvac/b", {"n": number})
    kv.delete_latest_version_of_secret("hvac/b")
    kv.read_secret_version("hvac/b", raise_on_deleted_version=True)
    kv.read_secret_version("hvac/b", raise_on_deleted_version=False)
    kv.patch("hvac/b", {"x": 1})
    kv.delete_secret_versions("hvac/b", [1, 2])
    kv.delete_secret_versions("hvac/b", [])
    kv.undelete_secret_versions("hvac/b", [2, 4])
    kv.destroy_secret_versions("hvac/b", [1])
    kv.read_secret_version("hvac/b", version=1, raise_on_deleted_version=False)
    kv.read_secret_version("hvac/b", version=2, raise_on_deleted_version=False)
    kv.delete_latest_version_of_secret("hvac/missing")
    kv.undelete_secret_versions("hvac/missing", [1])
    kv.destroy_secret_versions("hvac/missing", [1])
    kv.read_secret_metadata("hvac/b")


@program
def lists_and_metadata(server: Server, see: Observer) -> None:
    kv = Calls(client(server).secrets.kv.v2, see)
    kv.list_secrets("hvac/list")
    for name in ("one", "two/three", "two"):
        kv.create_or_update_secret(f"hvac/list/{name}", {"a": 1})
    kv.list_secrets("hvac/list")
    kv.list_secrets("hvac/list/two/")
    kv.read_secret_metadata("hvac/missing")
    kv.update_metadata("hvac/list/one", custom_metadata={"team": "a", "env": "prod"})
    kv.read_secret_metadata("hvac/list/one")
    kv.read_secret("hvac/list/one", raise_on_deleted_version=True)
    kv.delete_metadata_and_all_versions("hvac/list/one")
    kv.delete_metadata_and_all_versions("hvac/missing")
    kv.read_secret_metadata("hvac/list/one")
    kv.list_secrets("hvac/list")
    kv.read_configuration()


@program
def settings_of_versions(server: Server, see: Observer) -> None:
    kv = Calls(client(server).secrets.kv.v2, see)
    kv.create_or_update_secret("hvac/settings", {"a": 1})
    kv.update_metadata("hvac/settings", max_versions=3, cas_required=True, delete_version_after="1h")
    kv.read_secret_metadata("hvac/settings")
    kv.configure(max_versions=10, cas_required=False, delete_version_after="0s")
    kv.configure(max_versions=0)
    kv.read_configuration()


@program
def other_mounts(server: Server, see: Observer) -> None:
    kv = Calls(client(server).secrets.kv.v2, see)
    kv.read_secret("a", mount_point="nope", raise_on_deleted_version=True)
    kv.create_or_update_secret("a", {"a": 1}, mount_point="nope")
    kv.list_secrets("a", mount_point="nope")


@program
def callers(server: Server, see: Observer) -> None:
    for caller in ("admin", "team", "wrong"):
        one = client(server, caller)
        see(f"is_authenticated {caller}", one.is_authenticated())
        kv = Calls(one.secrets.kv.v2, see)
        kv.create_or_update_secret("hvac/c", {"by": caller})
        kv.create_or_update_secret(f"{TEAM}/hvac/c", {"by": caller})
        kv.read_secret("hvac/c", raise_on_deleted_version=True)
        kv.read_secret(f"{TEAM}/hvac/c", raise_on_deleted_version=True)
        kv.list_secrets("hvac")
    see("is_authenticated anonymous", hvac.Client(server.url, token="").is_authenticated())


@program
def tokens(server: Server, see: Observer) -> None:
    token = Calls(client(server).auth.token, see)
    token.lookup_self()
    token.renew_self()
    made = called(client(server).auth.token.create, ttl="1h")
    see("create", made)
    own = Calls(client(server, made["auth"]["client_token"]).auth.token, see)
    own.lookup_self()
    own.revoke_self()
    own.lookup_self()
    renewed = Calls(client(server, "hvac").auth.token, see)
    renewed.renew_self()
    renewed.renew_self(increment="30m")


@program
def logins(server: Server, see: Observer) -> None:
    one = client(server, "")
    wrong = called(one.auth.approle.login, server.role_id, "wrong")
    see("approle, wrong", wrong)
    see("approle", called(one.auth.approle.login, server.role_id, server.secret_id))
    see("approle, authenticated", one.is_authenticated())
    see("approle, list", called(one.secrets.kv.v2.list_secrets, "hvac-logins"))
    job = client(server, "")
    see("jwt, wrong", called(job.auth.jwt.jwt_login, ROLE, "a.b.c"))
    see("jwt", called(job.auth.jwt.jwt_login, ROLE, sign("ec-1", **{CLAIM: VALUE})))
    see("jwt, lookup", called(job.auth.token.lookup_self))


@program
def wrapping(server: Server, see: Observer) -> None:
    one = client(server)
    wrapped = called(one.sys.wrap, {"a": {"b": [1]}}, ttl=60)
    see("wrap", wrapped)
    token = wrapped["wrap_info"]["token"]
    see("unwrap", called(one.sys.unwrap, token))
    see("unwrap again", called(one.sys.unwrap, token))
    wrapped = called(one.sys.wrap, {"a": 1}, ttl=60)
    see("unwrap with its own token", called(client(server, wrapped["wrap_info"]["token"]).sys.unwrap))
    see("unwrap another", called(one.sys.unwrap, "wrong"))


@program
def system(server: Server, see: Observer) -> None:
    system = Calls(client(server).sys, see)
    for method in ("GET", "HEAD"):
        system.read_health_status(method=method)
    system.read_leader_status()
    system.read_seal_status()
    system.is_initialized()
    system.is_sealed()
    system.get_capabilities(["secret/data/a"])
    see("mounts", called(client(server).sys.list_mounted_secrets_engines))

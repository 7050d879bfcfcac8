"""Names: 200 odd paths of OpenBao are the same secrets here, in every part of the product."""

import json
import random
import re
import sys
import unicodedata
from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import pytest
import yaml
from click.testing import CliRunner

from tests.docs.documents import table
from tests.qa.differential.test_cli import bao
from tests.support.features import tables
from tests.support.openbao import Server, Servers
from vault.cli import commands
from vault.clients.delivery.cache import Fetched
from vault.clients.delivery.client import Client, Fetch, TokenFile
from vault.clients.delivery.policy import PolicyFile
from vault.clients.delivery.selection import DeliveryRequest, selection
from vault.clients.swarm.stacks import file
from vault.common.paths import name_flaw

pytestmark = pytest.mark.process

COUNT = 200
#: The folder of all these names.
FOLDER = "odd/"
#: Names that `bao` writes; the others are written over HTTP, which takes a hundredth of the time.
_BY_COMMAND = 6

_ASCII = " !\"#$%&'()+,-.:;<=>?@[\\]^_`{|}~azAZ09" + "/" * 6
_OTHERS = "éßø€ñΩЖ日本語עברمحहिไทย😀🇩🇪☃ﬁ½²①\uffe5\uff1d\u0301\u0338\u20dd\U0003134a"
#: What a path cannot have here, or not even in OpenBao.
_REFUSED = "*\u00a0\u200b\u202e\u3164\ufe0f\ufffd\ue000\u1100\u1161\u212b\t"
_FIXED = (
    *("=cmd|' /C calc'!A0", "+1", "-1", "@SUM(1)", "..a", ".env", "...", "a/.../b", "%2e%2e", "a%2Fb", "%00"),
    *(
        "$(id)",
        "`id`",
        "${HOME}",
        "a;b",
        "a&&b",
        "a|b",
        "<script>",
        "it's",
        '"',
        "\\",
        "a\\..\\b",
        "--yes",
        "#",
        "?",
    ),
    *("a  b", "key: value", "- a", "!tag", "&x", "{a}", "[a]", "~", "null", "x" * 500, "é" * 250, "😀" * 125),
    *("550e8400-e29b-41d4-a716-446655440000", "?list=true", "data", "metadata/x", "a,b", "{{repository}}"),
)


class Odd(NamedTuple):
    """The names that OpenBao took: those that are names here, and the others."""

    taken: Sequence[str]
    refused: Sequence[str]


def _candidates() -> Iterator[str]:
    """Yield odd names, the same in each run."""
    yield from (FOLDER + name for name in _FIXED)
    # Not for secrets.
    chance = random.Random(17)  # noqa: S311
    while True:
        pool = chance.choice([_ASCII, _ASCII + _OTHERS, _OTHERS, _ASCII + _OTHERS + _REFUSED])
        text = "".join(chance.choices(pool, k=chance.choice([1, 3, 8, 20, 60])))
        yield FOLDER + (unicodedata.normalize("NFC", text) if chance.random() < 0.9 else text)


def _each(
    server: Server, method: str, paths: Sequence[str], bodies: Sequence[object] = ()
) -> list[tuple[int, Any]]:
    """Send many requests below `secret/`, a few at a time, and return status and body of each reply."""
    with ThreadPoolExecutor(8) as pool:
        asked = partial(server.ask, method)
        found = pool.map(asked, [f"secret/{path}" for path in paths], bodies or [None] * len(paths))
        return [(reply.status, reply.body) for reply in found]


def _value(name: str) -> dict[str, str]:
    return {"name": name}


def _as_stored(name: str) -> bytes:
    return json.dumps(_value(name), ensure_ascii=False, separators=(",", ":")).encode()


def _put_all(server: Server, names: Sequence[str]) -> list[int]:
    paths = [f"data/{quote(name)}" for name in names]
    return [status for status, _ in _each(server, "POST", paths, [{"data": _value(name)} for name in names])]


@pytest.fixture(scope="module")
def odd(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Odd:
    """Store the names in OpenBao, and those of them that are names here in this service, some by `bao`."""
    folder = tmp_path_factory.mktemp("odd")
    candidates = list(dict.fromkeys(one for one, _ in zip(_candidates(), range(500), strict=False)))
    # With more, the real server would take names of kilobytes.
    taken = [
        name
        for name, status in zip(candidates, _put_all(servers.real, candidates), strict=True)
        # Paths that a server redirects are those of others.
        if status == 200
    ]
    names = [name for name in taken if not name_flaw(name)][:COUNT]
    left = [name for name in taken if not name_flaw(name)][COUNT:]
    # The source of the import has exactly the names, and those that are refused.
    _each(servers.real, "DELETE", [f"metadata/{quote(name)}" for name in left])
    by_command = names[:: COUNT // _BY_COMMAND]
    by_http = [name for name in names if name not in by_command]
    assert set(_put_all(servers.ours, by_http)) == {200}

    def put(name: str) -> int:
        # An argument that begins with a sign is an option to `bao` alone.
        arguments = ("kv", "put", "-mount=secret", "--", name, f"name={name}")
        return bao(servers.ours, *arguments, token=servers.ours.tokens["admin"], folder=folder).returncode

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(put, by_command)) == {0}
    return Odd(names, [name for name in taken if name_flaw(name)])


def _ask(servers: Servers, path: str, body: object) -> Any:
    headers = {"Authorization": f"Bearer {servers.ours.tokens['admin']}", "Content-Type": "application/json"}
    reply = servers.ours.send("POST", f"/vault/{path}", json.dumps(body).encode(), headers)
    assert reply.status == 200, reply
    return reply.body


def _batches(names: Sequence[str]) -> Iterator[Sequence[str]]:
    return (names[start : start + 100] for start in range(0, len(names), 100))


def test_200_odd_paths_are_read_by_both_apis(servers: Servers, odd: Odd) -> None:
    """Each of 200 odd paths is the same secret over Vault's API, over REST and in OpenBao; lists have it."""
    assert len(odd.taken) == COUNT
    paths = [f"data/{quote(name)}" for name in odd.taken]
    for server in servers:
        read = [body["data"]["data"] for _, body in _each(server, "GET", paths)]
        assert read == [_value(name) for name in odd.taken]
    fetched = [
        item
        for part in _batches(odd.taken)
        for item in _ask(servers, "secret/fetch-batch", {"secrets": [{"name": name} for name in part]})[
            "secrets"
        ]
    ]
    assert [(one["name"], b64decode(one["secret"])) for one in fetched] == [
        (name, _as_stored(name)) for name in odd.taken
    ]
    listed, cursor = [], None
    while not listed or cursor:
        page = _ask(servers, "secret/list", {"name_prefix": FOLDER, "limit": 70, "cursor": cursor})
        listed += [one["name"] for one in page["secrets"]]
        cursor = page["cursor"]
    assert listed == sorted(odd.taken)


def test_levels_of_odd_names_are_those_of_openbao(servers: Servers, odd: Odd) -> None:
    """A list of each folder has the keys that OpenBao has there, less those of refused names."""
    folders = sorted({name[: slash.end()] for name in odd.taken for slash in re.finditer("/", name)})
    paths = [f"metadata/{quote(folder)}?list=true" for folder in folders]
    for folder, (_, theirs), (_, ours) in zip(
        folders, _each(servers.real, "GET", paths), _each(servers.ours, "GET", paths), strict=True
    ):
        known = {name[len(folder) :].partition("/") for name in odd.taken if name.startswith(folder)}
        keys = {first + slash for first, slash, _ in known}
        assert set(ours["data"]["keys"]) == keys <= set(theirs["data"]["keys"])
        assert ours["data"]["keys"] == [key for key in theirs["data"]["keys"] if key in keys]


def quoted(text: str) -> str:
    """Return *text* as YAML in double quotes, on one line. JSON would have two escapes for one emoji."""
    return yaml.safe_dump(text, default_style='"', width=sys.maxsize).strip()


def test_the_driver_delivers_odd_names(
    servers: Servers, odd: Odd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Labels of Docker, a stack file, a policy and the driver's client take each of the names."""
    # A task waits for less; a slow machine needs more for a hundred values.
    monkeypatch.setattr("vault.clients.delivery.client._TIMEOUT_SECONDS", 60)
    labels = [{"secret-manager.name": name} for name in odd.taken]
    lines = [
        f"  s{number}:\n    labels:\n      secret-manager.name: {quoted(name).replace('$', '$$')}\n"
        for number, name in enumerate(odd.taken)
    ]
    stack = file.read(f"secrets:\n{''.join(lines)}".encode(), {})
    assert [secret.labels for secret in stack.secrets.values()] == labels
    rules = tmp_path / "policy.json"
    rules.write_text(json.dumps({"services": {"web": odd.taken}}))
    policy = PolicyFile(rules)
    fetches = []
    for some in labels:
        body = {"ServiceName": "web", "TaskID": "t", "SecretLabels": some}
        request = DeliveryRequest(json.dumps(body).encode())
        policy.require(request.selection().reference, request.task)
        fetches.append(Fetch(selection(some).reference, request.task))
    token = tmp_path / "token"
    token.write_text(servers.ours.tokens["admin"])
    client = Client(servers.ours.url, TokenFile(token))
    found = [one for part in range(0, COUNT, 100) for one in client.fetch(fetches[part : part + 100])]
    assert [one.value for one in found if isinstance(one, Fetched)] == list(map(_as_stored, odd.taken))


def test_the_command_line_reads_and_exports_odd_names(servers: Servers, odd: Odd) -> None:
    """`secret get` prints the value of a name, `secret list` the name, and an export has all of both."""
    environment = {"VAULT_URL": servers.ours.url, "VAULT_TOKEN": servers.ours.tokens["admin"]}

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(commands, list(arguments), env=environment)
        assert done.exit_code == 0, (arguments, done.stderr)
        return done.stdout

    for name in odd.taken[::40]:
        assert json.loads(run("secret", "get", name)) == _value(name)
    listed = [json.loads(line)["name"] for line in run("secret", "list", FOLDER, "--json").splitlines()]
    assert listed == sorted(odd.taken)
    exported = json.loads(run("secret", "export", FOLDER, "--format", "json"))
    assert exported == {name: _as_stored(name).decode() for name in odd.taken}


@pytest.mark.parametrize("require_names", [*tables("REQUIRE_NAMES")])
def test_features_take_odd_names(
    require_names: Callable[..., None], servers: Servers, odd: Odd, tmp_path: Path
) -> None:
    """Features that read names from OpenBao take each of them."""
    require_names(servers, FOLDER, odd.taken, tmp_path)


def test_odd_names_are_found_in_the_trail(servers: Servers, odd: Odd) -> None:
    """The trail has each name, and is searched by it."""
    created = servers.ours.entries("--action", "create", "--limit", "5000")
    assert {one["details"].get("name") for one in created} >= set(odd.taken)
    for name in odd.taken[7::100]:
        _ask(servers, "secret/fetch", {"name": name})
        found = servers.ours.entries("--secret", name)
        assert {(one["action"], one["details"]["name"]) for one in found} >= {
            ("create", name),
            ("fetch", name),
        }


def test_what_openbao_takes_and_is_no_name_breaks_a_rule(servers: Servers, odd: Odd) -> None:
    """Every other odd path is refused with the rule that it breaks, and nothing is stored."""
    assert len(odd.refused) > 20
    paths = [f"data/{quote(name)}" for name in odd.refused]
    for name, (status, body) in zip(
        odd.refused, _each(servers.ours, "POST", paths, [{"data": {}}] * len(paths)), strict=True
    ):
        assert (status, body) == (400, {"errors": [f"The path of a secret {name_flaw(name)}."]}), name


def test_the_table_of_refused_names_is_true(servers: Servers) -> None:
    """Each example in the document's table is refused here, and OpenBao answers as the table says."""
    for examples, there in table("docs/vault-api.md", "Names"):
        for example in re.findall("`([^`]+)`", examples):
            path = f"data/refused/{example.replace('…', 'x' * 513)}"
            real, ours = (server.ask("POST", f"secret/{path}", {"data": {}}).status for server in servers)
            assert real == int(there), example
            assert ours == (307 if real == 307 else 400), example
            assert real == 307 or name_flaw(unquote(path.removeprefix("data/refused/"), errors="replace"))

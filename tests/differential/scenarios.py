"""Raw requests, in scenarios. Each begins with its own names and states its promise in one sentence."""

import json
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from tests.differential.servers import TEAM

MERGE = {"Content-Type": "application/merge-patch+json"}
WRAP = {"X-Vault-Wrap-TTL": "60"}

#: The path of tokens.
_TOKEN = "auth/token"

#: No body at all.
NOTHING = object()


class Call(NamedTuple):
    """One request below `/v1/`. In its path, `~` is the folder of the scenario."""

    method: str
    path: str
    #: Bytes are sent unchanged, all else as JSON.
    body: Any = NOTHING
    headers: Mapping[str, str] = MappingProxyType({})
    #: Whose token is sent: a key of `Server.tokens`, a kept one, `wrong`, or `anonymous` for none.
    caller: str = "admin"
    #: Keep the token of the reply, of a login or a wrapping, under this name.
    keep: str = ""

    @property
    def step(self) -> str:
        """Its name among the observations."""
        headers = (
            []
            if self.headers in (MERGE, WRAP)
            else [f"{name}: {text}" for name, text in self.headers.items()]
        )
        parts = [
            self.method,
            self.path[:60],
            self._shown_body,
            *headers,
            "wrapped" if self.headers == WRAP else "",
            "" if self.caller == "admin" else f"as {self.caller}",
        ]
        return " ".join(filter(None, parts))

    @property
    def _shown_body(self) -> str:
        if self.body is NOTHING:
            return ""
        text = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        return text[:40].decode("ascii", "backslashreplace")


class Scenario(NamedTuple):
    """Requests in order, and what they show."""

    name: str
    promise: str
    calls: tuple[Call, ...]
    #: Compare numbers as they are written.
    exact: bool = False


def get(path: str, **options: Any) -> Call:
    return Call("GET", path, **options)


def post(path: str, body: Any = NOTHING, **options: Any) -> Call:
    return Call("POST", path, body, **options)


def put(path: str, body: Any = NOTHING, **options: Any) -> Call:
    return Call("PUT", path, body, **options)


def delete(path: str, body: Any = NOTHING, **options: Any) -> Call:
    return Call("DELETE", path, body, **options)


def listing(path: str, body: Any = NOTHING, **options: Any) -> Call:
    return Call("LIST", path, body, **options)


def patch(path: str, body: Any = NOTHING, headers: Mapping[str, str] = MERGE, **options: Any) -> Call:
    return Call("PATCH", path, body, headers, **options)


def write(name: str, **value: Any) -> Call:
    return post(f"secret/data/~/{name}", {"data": value})


def read(name: str) -> Call:
    return get(f"secret/data/~/{name}")


def metadata(name: str) -> Call:
    return get(f"secret/metadata/~/{name}")


def each(make: Any, bodies: Iterable[Any], *after: Call) -> tuple[Call, ...]:
    """Return one call for each of *bodies*, each followed by *after*."""
    return tuple(call for body in bodies for call in (make(body), *after))


#: Values of `versions` in the body of delete, undelete and destroy.
_VERSIONS: tuple[Any, ...] = (
    NOTHING,
    {},
    {"versions": []},
    {"versions": None},
    {"versions": ["x"]},
    {"versions": [1.5]},
    {"versions": [[1]]},
    {"versions": {"a": 1}},
    {"versions": [99]},
    {"versions": [0]},
    {"versions": [-1]},
    {"versions": "1"},
    {"versions": "1,2"},
    {"versions": 1},
    {"versions": ["1", "2"]},
    {"versions": [1, 1]},
    {"versions": [2], "unknown": 1},
    [1],
    b"{",
)


def _state(name: str, promise: str) -> Scenario:
    """Return the scenario of one change of versions: delete, undelete or destroy."""
    path = f"secret/{name}/~/a"
    return Scenario(
        name,
        promise,
        (
            write("a", k=1),
            write("a", k=2),
            write("a", k=3),
            *each(lambda body: post(path, body), _VERSIONS, metadata("a")),
            post(f"secret/{name}/~/missing", {"versions": [1]}),
            metadata("missing"),
            put(path, {"versions": ["3"]}),
            read("a"),
            get(path),
            delete(path),
            listing(path),
            patch(path, {"versions": [1]}),
            post(f"{path}/", {"versions": [1]}),
            post(f"secret/{name}/", {"versions": [1]}),
            post(f"secret/{name}", {"versions": [1]}),
        ),
    )


VERSIONS = (
    Scenario(
        "versions",
        "Each write is a new version, and any version can be read.",
        (
            read("a"),
            get("secret/data/~/a?version=1"),
            write("a", k="v"),
            put("secret/data/~/a", {"data": {"k": "v2"}, "options": {}}),
            read("a"),
            *(
                get(f"secret/data/~/a?version={version}")
                for version in ("1", "2", "0", "9", "-1", "", "abc", "1.5", "1&version=2", "9" * 20)
            ),
            get("secret/data/~/a?unknown=1"),
            get("secret/data/~/a", body=b"{", headers={"X-Vault-Request": "true"}),
            metadata("a"),
        ),
    ),
    Scenario(
        "deleted",
        "A deleted version is 404 with its metadata, and comes back; a destroyed one never does.",
        (
            write("a", k=1),
            write("a", k=2),
            delete("secret/data/~/a"),
            read("a"),
            get("secret/data/~/a?version=1"),
            delete("secret/data/~/a"),
            delete("secret/data/~/a", b"{"),
            delete("secret/data/~/missing"),
            post("secret/undelete/~/a", {"versions": [2]}),
            read("a"),
            post("secret/destroy/~/a", {"versions": [1]}),
            get("secret/data/~/a?version=1"),
            post("secret/undelete/~/a", {"versions": [1]}),
            get("secret/data/~/a?version=1"),
            post("secret/destroy/~/a", {"versions": ["2"]}),
            read("a"),
            metadata("a"),
            write("a", k=3),
            read("a"),
            metadata("a"),
        ),
    ),
    _state("delete", "Versions are deleted one by one, in any form that the real server accepts."),
    _state("undelete", "Versions are undeleted one by one, in any form that the real server accepts."),
    _state("destroy", "Versions are destroyed one by one, in any form that the real server accepts."),
    Scenario(
        "cas",
        "A write with `cas` needs that version to be the newest, deleted or not; 0 is none.",
        (
            *each(
                lambda cas: post("secret/data/~/a", {"options": {"cas": cas}, "data": {"k": "v"}}),
                (1, -1, 0, 0, 1, 1, "2", "x", 1.5, 2.0, None, True, [1], "", 10**20),
            ),
            *each(
                lambda options: post("secret/data/~/a", {"options": options, "data": {"k": "v"}}),
                (None, {}, {"unknown": 1}, [], "x", 1, [{"cas": 0}]),
            ),
            delete("secret/data/~/a"),
            post("secret/data/~/a", {"options": {"cas": 0}, "data": {}}),
            post("secret/data/~/a", {"options": {"cas": 7}, "data": {}}),
            metadata("a"),
        ),
    ),
)

#: Bodies of a write whose JSON is not what a write needs.
_BODIES: tuple[Any, ...] = (
    NOTHING,
    b"",
    {},
    None,
    {"data": None},
    {"data": []},
    {"data": [1]},
    {"data": "x"},
    {"data": 5},
    {"data": True},
    {"data": {}},
    {"k": "v"},
    {"Data": {"k": "v"}},
    {"data": {"k": "v"}, "unknown": 2},
    [],
    b"x",
    b"{",
    b'{"data":{"a":1}} trailing',
    b'{"data":{"a":1}}{"data":{"a":2}}',
    b"\xff\xfe",
    b'\xef\xbb\xbf{"data":{"a":1}}',
    b'{"data":{"a":NaN}}',
    b'{"data":{"a":1,"a":2}}',
    b'{"data":{"a":1},"data":{"b":2}}',
    b' {"data": {"a": 1}}\n',
    b'{"data":{"a":"\xff"}}',
    b'{"data":{"a":"\\ud800"}}',
    b'{"data":{"a":01}}',
    b'{"data":{"a":1e400}}',
    b'{"data":{"a":"\x01"}}',
    b'{"data":{"a":' + b"[" * 20_000 + b"]" * 20_000 + b"}}",
)

_NUMBERS = (
    *(
        "0",
        "-0",
        "-0.0",
        "1.10",
        "1E5",
        "1e2",
        "1e20",
        "1e21",
        "1e-6",
        "1e-7",
        "5e-324",
        "1e-400",
        "123456789.5",
    ),
    *(
        "9007199254740991",
        "9007199254740993",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551616",
    ),
    *(
        "123456789012345678901234567890.1234567890",
        "0.1",
        "0.30000000000000004",
        "1.7976931348623157e308",
        "-1.5e-9",
    ),
)

_VALUES = (
    '{"b":true,"a":null,"c":{"z":1,"y":[1,"2",{"x":null}]},"B":false,"1":[],"e":{}}',
    '{"\u00fc\u20ac":"\u65e5\u672c\u8a9e\U0001f600","\\u0000k":"a\\u0000b<>&\u2028\u2029\\u007f"}',
    '{"b":"\\ud83d\\ude00","c":"x/y \\/ \\u00e9 \\" \\\\ \\n\\t\\b\\f\\r"}',
    '{"":"empty key","a.b":1,"a b":2,"$set":3,"_id":4}',
    '{"\U0001f600":1,"\uffff":2,"a":3,"\u00e9":4}',
    '{"a":' + "[" * 200 + "]" * 200 + "}",
    '{"a":' + '{"a":' * 50 + "1" + "}" * 50 + "}",
    # 64 KB with its braces and its key.
    '{"big":"' + "x" * (65_536 - 10) + '"}',
)

VALUES = (
    Scenario(
        "bodies",
        "What is not a write is refused with the real server's words and changes nothing.",
        tuple(
            call
            for number, body in enumerate(_BODIES)
            for call in (post(f"secret/data/~/{number}", body), read(str(number)))
        ),
    ),
    Scenario(
        "numbers",
        "Numbers come back as the real server writes them, also those beyond 2^53.",
        (
            post(
                "secret/data/~/a",
                f'{{"data":{{"n":[{",".join(_NUMBERS)}]}}}}'.encode(),
            ),
            read("a"),
        ),
        exact=True,
    ),
    Scenario(
        "values",
        "Nested JSON, unicode and 64 KB come back byte for byte as from the real server.",
        tuple(
            call
            for number, value in enumerate(_VALUES)
            for call in (post(f"secret/data/~/{number}", f'{{"data":{value}}}'.encode()), read(str(number)))
        ),
        exact=True,
    ),
    Scenario(
        "content types",
        "The content type of a write does not matter, and PUT is POST.",
        (
            *(
                post("secret/data/~/a", b'{"data":{"k":1}}', headers={"Content-Type": text})
                for text in (
                    *(
                        "application/json",
                        "text/plain",
                        "application/x-www-form-urlencoded",
                        "multipart/form-data",
                    ),
                    *("", "application/json; charset=utf-16", "application/xml", "x;;"),
                )
            ),
            post("secret/data/~/a", b"k=v", headers={"Content-Type": "application/x-www-form-urlencoded"}),
            post("secret/data/~/a", b"\x1f\x8b", headers={"Content-Encoding": "gzip"}),
            put("secret/data/~/a", {"data": {"k": 2}}),
            get("secret/data/~/a", headers={"Accept": "text/html"}),
            post("secret/data/~/a?version=1&unknown=1", {"data": {"k": 3}}),
            post("secret/data/~/none?data=x"),
        ),
    ),
)

#: Bodies of `secret/metadata/…`.
_SETTINGS: tuple[dict[str, Any], ...] = (
    {"custom_metadata": {"a": 1}},
    {"custom_metadata": {"a": True}},
    {"custom_metadata": {"a": None}},
    {"custom_metadata": {"a": ["x"]}},
    {"custom_metadata": {"a": ""}},
    {"custom_metadata": {"": "x"}},
    {"custom_metadata": {}},
    {"custom_metadata": None},
    {"custom_metadata": "x"},
    {"custom_metadata": ["a=b"]},
    {"custom_metadata": {"a b": "c d = e"}},
    {"custom_metadata": {"\u00fc": "\u00fc"}},
    {"custom_metadata": {"a": "line\nfeed"}},
    {"custom_metadata": {"a\n": "x"}},
    {"custom_metadata": {"k" * 63: "x" * 256}},
    {"custom_metadata": {"k" * 128: "x"}},
    {"custom_metadata": {"k": "x" * 512}},
    {"custom_metadata": {"k" * 129: "x"}},
    {"custom_metadata": {"k": "x" * 513}},
    {"custom_metadata": {f"k{number:02}": "x" for number in range(16)}},
    {"custom_metadata": {f"k{number:02}": "x" for number in range(64)}},
    {"custom_metadata": {f"k{number:02}": "x" for number in range(65)}},
    {"max_versions": "5"},
    {"max_versions": 3},
    {"max_versions": "x"},
    {"max_versions": 1.5},
    {"max_versions": -1},
    {"max_versions": None},
    {"cas_required": "true"},
    {"cas_required": "x"},
    {"cas_required": False},
    {"delete_version_after": "1h30m"},
    {"delete_version_after": 3600},
    {"delete_version_after": "x"},
    {"delete_version_after": "-1s"},
    {"delete_version_after": "0s"},
    {"max_versions": 0, "cas_required": False, "delete_version_after": "0s", "custom_metadata": {"c": "d"}},
)

_METADATA_PATCHES: tuple[Any, ...] = (
    {"custom_metadata": {"a": None, "c": "3"}},
    {"custom_metadata": {"a": "4"}},
    {"custom_metadata": {"a": 4}},
    {"custom_metadata": {}},
    {"custom_metadata": None},
    {"custom_metadata": "x"},
    {"custom_metadata": {"k": "x" * 513}},
    {"max_versions": 3},
    {"max_versions": None},
    {"cas_required": True},
    {"delete_version_after": "10s"},
    {"delete_version_after": None, "cas_required": None},
    {"unknown": 1},
    {},
    NOTHING,
    [1],
    b"{",
)

METADATA = (
    Scenario(
        "settings",
        "A secret can have its own number of versions, required `cas` and time until versions are deleted.",
        (
            post(
                "secret/metadata/~/a",
                {
                    "max_versions": 2,
                    "cas_required": True,
                    "delete_version_after": "1h",
                    "custom_metadata": {"a": "b"},
                },
            ),
            metadata("a"),
            write("a", k=1),
            post("secret/data/~/a", {"data": {"k": 1}, "options": {"cas": 0}}),
            read("a"),
            metadata("a"),
            patch("secret/data/~/a", {"data": {"j": 1}}),
            patch("secret/data/~/a", {"data": {"j": 1}, "options": {"cas": 1}}),
            post("secret/metadata/~/a", {"cas_required": False, "delete_version_after": "0s"}),
            *(write("a", k=number) for number in range(3)),
            metadata("a"),
            get("secret/data/~/a?version=1"),
            get("secret/data/~/a?version=4"),
            post("secret/metadata/~/a", {"max_versions": 1}),
            metadata("a"),
            write("a", k=9),
            metadata("a"),
            post("secret/metadata/~/a", {"max_versions": 0}),
            *(write("a", k=number) for number in range(11)),
            metadata("a"),
            post("secret/metadata/~/c", {"metadata_cas_required": True}),
            metadata("c"),
            post("secret/metadata/~/c", {"max_versions": 1}),
            post("secret/metadata/~/c", {"max_versions": 1, "metadata_cas": 0}),
            post("secret/metadata/~/c", {"max_versions": 1, "metadata_cas": 1}),
            patch("secret/metadata/~/c", {"max_versions": 2, "metadata_cas": 2}),
            metadata("c"),
            post("secret/metadata/~/d", {"delete_version_after": "1500ms"}),
            metadata("d"),
        ),
    ),
    Scenario(
        "metadata",
        "Metadata can be read, replaced and deleted; after that, a name begins again at version 1.",
        (
            metadata("a"),
            delete("secret/metadata/~/a"),
            write("a", k=1),
            metadata("a"),
            post("secret/metadata/~/a", {"custom_metadata": {"b": "2", "a": "1"}}),
            metadata("a"),
            read("a"),
            write("a", k=2),
            delete("secret/data/~/a"),
            read("a"),
            put("secret/metadata/~/a", {"custom_metadata": {"c": "3"}}),
            metadata("a"),
            post("secret/metadata/~/a"),
            post("secret/metadata/~/a", {}),
            metadata("a"),
            delete("secret/metadata/~/a", b"{"),
            metadata("a"),
            read("a"),
            listing("secret/metadata/~"),
            write("a", k=3),
            metadata("a"),
        ),
    ),
    Scenario(
        "metadata first",
        "Metadata can be written before the first version.",
        (
            post("secret/metadata/~/a", {}),
            metadata("a"),
            post("secret/metadata/~/a", {"custom_metadata": {"a": "b"}}),
            metadata("a"),
            read("a"),
            get("secret/subkeys/~/a"),
            delete("secret/data/~/a"),
            patch("secret/data/~/a", {"data": {"k": 1}}),
            listing("secret/metadata/~"),
            post("secret/data/~/a", {"options": {"cas": 0}, "data": {"k": 1}}),
            read("a"),
            metadata("a"),
        ),
    ),
    Scenario(
        "metadata bodies",
        "Settings and labels of a secret are checked as by the real server.",
        tuple(
            call
            for number, body in enumerate((*_SETTINGS, {"unknown": 1}, [1], b"{"))
            for call in (
                write(str(number), k=1),
                post(f"secret/metadata/~/{number}", {"custom_metadata": {"a": "b"}}),
                post(f"secret/metadata/~/{number}", body),
                metadata(str(number)),
            )
        ),
    ),
    Scenario(
        "metadata patch",
        "A merge patch of metadata changes only what it names; null removes.",
        (
            patch("secret/metadata/~/missing", {"custom_metadata": {"a": "1"}}),
            *(
                call
                for number, body in enumerate(_METADATA_PATCHES)
                for call in (
                    write(str(number), k=1),
                    post(f"secret/metadata/~/{number}", {"custom_metadata": {"a": "1", "b": "2"}}),
                    patch(f"secret/metadata/~/{number}", body),
                    metadata(str(number)),
                )
            ),
            patch("secret/metadata/~/0", {}, headers={"Content-Type": "application/json"}),
            patch("secret/metadata/~/0", {}, headers={"Content-Type": ""}),
            patch(
                "secret/metadata/~/0",
                {"custom_metadata": {"y": "1"}},
                headers={"Content-Type": "application/merge-patch+json; charset=utf-8"},
            ),
            metadata("0"),
        ),
    ),
    Scenario(
        "config",
        "The settings of the mount can be read.",
        (
            get("secret/config"),
            post("secret/config", {}),
            delete("secret/config"),
            listing("secret/config"),
            patch("secret/config", {}),
            get("secret/config/"),
            get("secret/config/x"),
        ),
    ),
    Scenario(
        "subkeys",
        "Subkeys are a version's keys without its values, down to a depth.",
        (
            get("secret/subkeys/~/a"),
            write("a", a=1, b={"c": {"d": 1, "e": {}}, "f": [1]}, g=None, h={}),
            *(
                get(f"secret/subkeys/~/a{query}")
                for query in (
                    *(
                        "",
                        "?depth=0",
                        "?depth=1",
                        "?depth=2",
                        "?depth=3",
                        "?depth=-1",
                        "?depth=x",
                        "?version=1",
                    ),
                    *("?version=9", "?version=x", "?unknown=1"),
                )
            ),
            post("secret/data/~/null", {"data": None}),
            get("secret/subkeys/~/null"),
            post("secret/subkeys/~/a", {}),
            patch("secret/subkeys/~/a", {}),
            listing("secret/subkeys/~/a"),
            delete("secret/data/~/a"),
            get("secret/subkeys/~/a"),
            post("secret/destroy/~/a", {"versions": [1]}),
            get("secret/subkeys/~/a"),
            get("secret/subkeys/"),
            get("secret/subkeys"),
        ),
    ),
)

#: Content types of a patch, other than the one it needs.
_NO_MERGE = ("application/json", "", "text/plain", "x;;", "application/json-patch+json")

PATCHES = (
    Scenario(
        "patch",
        "A merge patch makes a new version of the newest one; null removes a key.",
        (
            write("a", a=1, b={"c": 1, "d": 2}, e=[1, 2]),
            *each(
                lambda body: patch("secret/data/~/a", body),
                (
                    {"data": {"f": 2}},
                    {"data": {"a": None, "b": {"c": None, "x": {"y": None, "z": 1}}}},
                    {"data": {"b": None, "e": {"0": 9}}},
                    {"data": {}},
                    {"data": {"n": 9007199254740993}},
                    {},
                    {"data": "x"},
                    {"data": [1]},
                    {"data": {"q": 1}, "options": {"cas": 0}},
                    {"data": {"q": 1}, "options": {"cas": 99}},
                    {"data": {"q": 1}, "options": {"cas": "x"}},
                    {"data": {"q": 1}, "options": {"cas": 6}},
                    {"data": {"r": 1}, "options": {}, "unknown": 1},
                    NOTHING,
                    b"{",
                    [1],
                ),
                read("a"),
            ),
            *(
                patch("secret/data/~/a", {"data": {"s": 1}}, headers={"Content-Type": kind})
                for kind in _NO_MERGE
            ),
            patch(
                "secret/data/~/a",
                {"data": {"s": 1}},
                headers={"Content-Type": "application/merge-patch+json;charset=utf-8"},
            ),
            patch(
                "secret/data/~/a",
                {"data": {"s": 1}},
                headers={"Content-Type": "APPLICATION/merge-patch+JSON"},
            ),
            metadata("a"),
        ),
    ),
    Scenario(
        "patch nothing",
        "A patch needs a version that can be read.",
        (
            patch("secret/data/~/a", {"data": {"a": 1}}),
            patch("secret/data/~/a", {"data": {"a": 1}, "options": {"cas": 0}}),
            patch("secret/data/~/a", {}),
            write("a", a=1),
            delete("secret/data/~/a"),
            patch("secret/data/~/a", {"data": {"b": 1}}),
            post("secret/destroy/~/a", {"versions": [1]}),
            patch("secret/data/~/a", {"data": {"b": 1}}),
            patch("secret/data/~/a/", {"data": {"b": 1}}),
            patch("secret/data/", {"data": {"b": 1}}),
            patch("secret/data", {"data": {"b": 1}}),
            patch("secret/foo", {"data": {"b": 1}}),
            metadata("a"),
        ),
    ),
    Scenario(
        "patch null",
        "A null instead of an object removes everything.",
        (
            write("a", a=1),
            patch("secret/data/~/a", {"data": None}),
            read("a"),
            patch("secret/data/~/a", {"data": {"b": 1}}),
        ),
    ),
)

_LISTED = ("a", "b/c", "b/d", "b/e/f", "b", "Z", "0", "a-x", "a/b", "_")

LISTS = (
    Scenario(
        "list",
        "A list shows one level of names, folders with a slash, in the real server's order.",
        (
            listing("secret/metadata/~"),
            *(write(name, k=1) for name in _LISTED),
            *(
                listing(f"secret/metadata/~{path}")
                for path in (
                    "",
                    "/",
                    "/b",
                    "/b/",
                    "/b/e",
                    "/b/c",
                    "/Z",
                    "/missing",
                    "/missing/",
                    "/a/b/",
                    "/a",
                )
            ),
            *(
                get(f"secret/metadata/~/?{query}")
                for query in (
                    "list=true",
                    "list=1",
                    "list=True",
                    "list=TRUE",
                    "list=false",
                    "list=x",
                    "list=",
                )
            ),
            get("secret/metadata/~?list=true"),
            get("secret/metadata/~"),
            get("secret/metadata/~/"),
            listing("secret/metadata/~/", b"{"),
            listing("secret/metadata/~/", {"limit": 1}),
            delete("secret/data/~/a"),
            listing("secret/metadata/~/"),
            *(delete(f"secret/metadata/~/{name}") for name in ("b/c", "b/d", "b/e/f")),
            listing("secret/metadata/~/b"),
            listing("secret/metadata/~/"),
        ),
    ),
    Scenario(
        "pages",
        "A list can begin after a name and end after a number of them.",
        (
            *(write(name, k=1) for name in _LISTED),
            *(
                listing(f"secret/metadata/~/?{query}")
                for query in (
                    *("limit=2", "after=a", "after=a&limit=2", "after=b", "after=b/", "after=zzz", "limit=0"),
                    *(
                        "limit=-1",
                        "limit=x",
                        "limit=100",
                        "after=a/",
                        "after=aa",
                        "unknown=1",
                        "after=",
                        "limit=",
                    ),
                )
            ),
            get("secret/metadata/~/?list=true&limit=1"),
        ),
    ),
    Scenario(
        "no lists",
        "Only metadata can be listed, and the mount's root is not a secret.",
        (
            write("a", k=1),
            *(
                listing(f"secret{path}")
                for path in ("/data/", "/data/~", "", "/", "/foo", "/config", "/subkeys/~", "/delete/~")
            ),
            get("secret/data/?list=true"),
            *(make("secret/metadata/") for make in (post, put, patch)),
            *(delete(path) for path in ("secret/metadata", "secret/data", "secret", "secret/foo")),
            *(
                get(path)
                for path in (
                    "secret/metadata",
                    "secret/metadata/",
                    "secret/data",
                    "secret/data/",
                    "secret",
                    "secret/",
                )
            ),
        ),
    ),
)

ROUTES = (
    Scenario(
        "routes",
        "What is not a path of KV version 2 or no mount is refused as by the real server.",
        (
            *(get(f"secret/{path}") for path in ("foo", "foo/bar", "Data/a", "datax/a")),
            post("secret/foo", {"data": {"k": 1}}),
            put("secret/foo", {"data": {"k": 1}}),
            delete("secret/foo/bar"),
            *(Call(method, "nope/x") for method in ("GET", "POST", "PUT", "DELETE", "LIST")),
            *(
                get(path)
                for path in ("nope", "nope/", "kv/data/a", "Secret/data/a", "auth/nope/login", "auth", "")
            ),
            *(get(path) for path in ("sys/nope", "auth/token/nope")),
            post("sys/nope", {}),
        ),
    ),
    Scenario(
        "clean paths",
        "Paths with empty or relative parts lead to the clean path, and never elsewhere.",
        (
            write("a", k=1),
            *(
                get(path)
                for path in (
                    *("secret//data/~/a", "secret/data//~/a", "secret/data/~//a", "secret/./data/~/a"),
                    *("secret/data/./~/a", "secret/data/x/../~/a", "secret/data/~/a/..", "secret/data/~/a/."),
                    *("secret/data/~/a//", "../v1/secret/data/~/a", "secret/data/../../../etc/passwd"),
                    *("/secret/data/~/a", "secret//data/~/a?version=1"),
                    *(
                        "secret/data/%2e%2e/~/a",
                        "secret/data/%2e/~/a",
                        "secret/data/~/%2E%2E",
                        "secret/data/~/%2e%2e/a",
                    ),
                    *("secret/data/~%2Fa", "secret%2Fdata%2F~%2Fa", "secret/data/~%2fa"),
                    *("secret/data/~/a/", "secret/metadata/~/a/", "secret/data/~/a?", "secret/data/~/zz%7A"),
                )
            ),
            post("secret/data//~/b", {"data": {"k": 1}}),
            post("secret/data/~/x/../b", {"data": {"k": 1}}),
            post("secret/data/%2e%2e/~/b", {"data": {"k": 1}}),
            delete("secret/data/~//a"),
            listing("secret//metadata/~"),
            *(
                call(f"secret/{path}", {"data": {"k": 1}})
                for call in (post, put)
                for path in ("data/~/a/", "metadata/~/a/", "data/", "")
            ),
            post("secret/data/~%2Fb", {"data": {"k": 1}}),
            read("b"),
            delete("secret/data/~/a/"),
            delete("secret/metadata/~/a/"),
            listing("secret/metadata/~"),
        ),
    ),
    Scenario(
        "names",
        "Names that both services know work; others are refused.",
        tuple(
            call
            for name in (
                "plain",
                "with.dot",
                "a-b_c",
                "a..b",
                "UPPER",
                "0",
                "x" * 100,
                "%61",
                "deep/er/and/deep/er",
            )
            for call in (write(name, k=1), read(name))
        ),
    ),
    Scenario(
        "strange names",
        "Names with spaces, signs, unicode, a leading dot and more are names here, too.",
        (
            *(
                call
                for name in (
                    "sp%20ace",
                    "a@b",
                    "%C3%BC",
                    ".hidden",
                    "a+b",
                    "a:b",
                    "a%25b",
                    "..a",
                    "x" * 300,
                    "-a",
                    "a;b",
                    "a%3Fb%23%26c",
                    "%22'%60$(x)%5C",
                    "%E6%97%A5%E6%9C%AC/a%20b/...",
                    "%F0%9F%98%80",
                )
                for call in (write(name, k=1), read(name))
            ),
            listing("secret/metadata/~"),
            listing("secret/metadata/~/%E6%97%A5%E6%9C%AC"),
            delete("secret/metadata/~/sp%20ace"),
            read("sp%20ace"),
        ),
    ),
    Scenario(
        "refused names",
        "Names that look like others, or change on their way, are refused.",
        (
            *(
                call
                for name in (
                    "a%20",
                    "%20a",
                    "a%2F%2Fb",
                    "a*",
                    "u%CC%88",
                    "%E2%9D%A4%EF%B8%8F",
                    "%E3%85%A4",
                    "%EF%BF%BD",
                    "x" * 513,
                    "a%FF",
                    "a%00b",
                    "a%C2%A0b",
                    "a%E2%80%8Bb",
                    "a%2F..%2Fb",
                    "a//b",
                )
                for call in (write(name, k=1), read(name))
            ),
            *(get(f"secret/data/~/{name}") for name in ("a%0Ab", "a%09b")),
            listing("secret/metadata/~"),
        ),
    ),
    Scenario(
        "keys of labels",
        "Keys of labels that look like others, or cannot be told from their texts, are refused.",
        tuple(
            call
            for number, key in enumerate(("a=b", " a", "u\u0308", "\u3164", "$where *?:,;", "\u65e5 \u00fc"))
            for call in (
                write(str(number), k=1),
                post(f"secret/metadata/~/{number}", {"custom_metadata": {key: "x"}}),
                metadata(str(number)),
            )
        ),
    ),
    Scenario(
        "methods",
        "Methods that a path does not have are refused as by the real server.",
        (
            write("a", k=1),
            *(
                Call(method, path)
                for method in ("HEAD", "OPTIONS", "TRACE", "FOO")
                for path in ("secret/data/~/a", "secret/data/~/missing", "sys/health")
            ),
            Call("HEAD", "secret/data/~/a", caller="anonymous"),
            Call("PUT", "sys/seal-status", {}),
            Call("POST", "sys/health", {}),
        ),
    ),
)

#: A request of each kind.
_KINDS = (
    get("secret/data/~/a"),
    get("secret/data/~/missing"),
    post("secret/data/~/a", {"data": {"k": 2}}),
    patch("secret/data/~/a", {"data": {"k": 2}}),
    delete("secret/data/~/a"),
    post("secret/undelete/~/a", {"versions": [1]}),
    get("secret/metadata/~/a"),
    post("secret/metadata/~/a", {"custom_metadata": {"a": "b"}}),
    delete("secret/metadata/~/a"),
    listing("secret/metadata/~"),
    listing("secret/metadata/"),
    get("secret/subkeys/~/a"),
    get("secret/foo"),
    get("secret/config"),
    get("nope/x"),
    get("sys/mounts"),
    get("sys/internal/ui/mounts/secret"),
    get("sys/internal/ui/mounts/secret/~/a"),
    get("sys/internal/ui/mounts/nope"),
    get("sys/nope"),
    post("sys/capabilities-self", {"paths": ["secret/data/~/a"]}),
    get("auth/token/lookup-self"),
    post("auth/token/renew-self", {}),
    post("auth/token/create", {}),
    post("sys/wrapping/wrap", {"a": 1}, headers=WRAP),
)


def as_(caller: str, calls: Iterable[Call]) -> tuple[Call, ...]:
    """Return *calls* with another caller."""
    return tuple(call._replace(caller=caller) for call in calls)


def _theirs(call: Call) -> Call:
    """Return *call* below the folder of the team."""
    body = (
        json.loads(json.dumps(call.body).replace("~", f"{TEAM}/~"))
        if isinstance(call.body, dict)
        else call.body
    )
    return call._replace(path=call.path.replace("~", f"{TEAM}/~"), body=body)


CALLERS = (
    Scenario(
        "anonymous",
        "Without a credential, everything is denied in the same words.",
        (write("a", k=1), *as_("anonymous", _KINDS), read("a")),
    ),
    Scenario(
        "wrong",
        "With a wrong credential, everything is denied in the same words.",
        (write("a", k=1), *as_("wrong", _KINDS), read("a")),
    ),
    Scenario(
        "headers",
        "A token comes in either header; the first counts alone.",
        (
            write("a", k=1),
            *(
                get("secret/data/~/a", headers=headers, caller="anonymous")
                for headers in (
                    {"Authorization": "Bearer {admin}"},
                    {"Authorization": "bearer {admin}"},
                    {"Authorization": "Basic cm9vdA=="},
                    {"Authorization": "Bearer wrong"},
                    {"Authorization": "Bearer "},
                    {"X-Vault-Token": "wrong", "Authorization": "Bearer {admin}"},
                    {"X-Vault-Token": "{admin}", "Authorization": "Bearer wrong"},
                    {"X-Vault-Token": "", "Authorization": "Bearer {admin}"},
                    {"X-Vault-Token": ""},
                    {"X-Vault-Token": " {admin} "},
                    {"X-Vault-Token": "\u00fc"},
                    {"X-Vault-Token": "{admin}", "X-Vault-Request": "true"},
                )
            ),
        ),
    ),
    Scenario(
        "namespaces",
        "A namespace that is not the principal's is not found.",
        (
            write("a", k=1),
            *(
                get("secret/data/~/a", headers={"X-Vault-Namespace": name})
                for name in ("nope", "nope/", "a/b", "")
            ),
            post("secret/data/~/a", {"data": {}}, headers={"X-Vault-Namespace": "nope"}),
            get("secret/data/~/a", headers={"X-Vault-Namespace": "nope"}, caller="wrong"),
            get("secret/data/~/a", headers={"X-Vault-Namespace": "nope"}, caller="anonymous"),
            get("auth/token/lookup-self", headers={"X-Vault-Namespace": "nope"}),
        ),
    ),
    Scenario(
        "outside",
        "Outside a principal's paths, everything is denied, existing or not.",
        (write("a", k=1), *as_("team", _KINDS[:20]), read("a")),
    ),
    Scenario(
        "inside",
        "Within its paths, a limited principal works as usual.",
        (
            post(f"secret/data/{TEAM}/~/a", {"data": {"k": 1}}),
            *as_("team", (_theirs(call) for call in _KINDS[:8])),
            *as_(
                "team",
                (
                    listing(f"secret/metadata/{TEAM}/~"),
                    listing(f"secret/metadata/{TEAM}/~/"),
                    get(f"secret/subkeys/{TEAM}/~/a"),
                    get(f"secret/data/{TEAM}%2F~%2Fa"),
                    get(f"secret/data/{TEAM}/../~/a"),
                    get(f"sys/internal/ui/mounts/secret/{TEAM}/~/a"),
                    post("auth/token/create", {}),
                ),
            ),
        ),
    ),
    Scenario(
        "reader",
        "A reader can read and list, and change nothing.",
        (write("a", k=1), *as_("reader", (*_KINDS[:10], *_KINDS[11:14])), read("a")),
    ),
    Scenario(
        "unreadable",
        "A body that is not JSON is refused before the credential is checked.",
        tuple(
            post("secret/data/~/a", b"{", caller=caller)
            for caller in ("anonymous", "wrong", "team", "reader")
        ),
    ),
)

SYSTEM = (
    Scenario(
        "system",
        "Clients can ask for health, seal and leader without a credential.",
        tuple(
            get(path, caller=caller)
            for path in (
                *("sys/health", "sys/seal-status", "sys/leader", "sys/init"),
                *("sys/health?standbyok=true", "sys/health?drsecondarycode=299", "sys/health?activecode=299"),
                *(
                    "sys/health?activecode=x",
                    "sys/health?sealedcode=299&uninitcode=299",
                    "sys/health?unknown",
                ),
            )
            for caller in ("anonymous", "admin", "wrong")
        ),
    ),
    Scenario(
        "mounts",
        "Clients learn that KV version 2 is mounted at secret/.",
        (
            *(
                get(f"sys/internal/ui/mounts{path}", caller=caller)
                for path in ("", "/secret", "/secret/", "/secret/a/b", "/nope", "/nope/x")
                for caller in ("admin", "team", "anonymous", "wrong")
            ),
            *(get("sys/mounts", caller=caller) for caller in ("admin", "team", "anonymous", "wrong")),
            post("sys/mounts", {}),
        ),
    ),
    Scenario(
        "capabilities",
        "A principal can ask what it may do.",
        (
            *each(
                lambda body: post("sys/capabilities-self", body),
                (
                    {"paths": ["secret/data/a"]},
                    {"path": "secret/data/a"},
                    {"paths": ["secret/data/a", "nope/x"]},
                    {"paths": "secret/data/a,secret/data/b"},
                    {"paths": []},
                    {"paths": [""]},
                    {},
                    NOTHING,
                    b"{",
                ),
            ),
            post(
                "sys/capabilities-self",
                {
                    "paths": [
                        f"secret/data/{TEAM}/a",
                        "secret/data/other",
                        f"secret/metadata/{TEAM}/a",
                        "secret/metadata/",
                        "nope",
                    ]
                },
                caller="team",
            ),
            post("sys/capabilities-self", {"paths": ["secret/data/a", "secret/metadata/a"]}, caller="reader"),
            get("sys/capabilities-self"),
        ),
    ),
)

TOKENS = (
    Scenario(
        "lookup",
        "A token can look itself up.",
        (
            *(get("auth/token/lookup-self", caller=caller) for caller in ("admin", "team", "reader")),
            post("auth/token/lookup-self", {}, caller="team"),
            post("auth/token/lookup-self", caller="team"),
        ),
    ),
    Scenario(
        "renewal",
        "A renewable token can renew itself; an endless one cannot.",
        (
            post("auth/token/renew-self", {}),
            post("auth/token/renew-self", {"increment": "1h"}),
            *(
                post("auth/token/renew-self", body, caller="http")
                for body in (
                    NOTHING,
                    {},
                    {"increment": "10m"},
                    {"increment": 600},
                    {"increment": "x"},
                    {"increment": "-1h"},
                    {"increment": "1h"},
                    b"{",
                )
            ),
            put("auth/token/renew-self", {}, caller="http"),
            get("auth/token/lookup-self", caller="http"),
            get("auth/token/renew-self", caller="http"),
        ),
    ),
    Scenario(
        "creation",
        "An administrator can create tokens, which work until they are revoked.",
        (
            post("auth/token/create", {"ttl": "1h"}, keep="new"),
            get("auth/token/lookup-self", caller="new"),
            post("secret/data/~/a", {"data": {"k": 1}}, caller="new"),
            post("auth/token/revoke-self", {}, caller="new"),
            get("auth/token/lookup-self", caller="new"),
            post("auth/token/revoke-self", {}, caller="new"),
            put("auth/token/create", {"ttl": 3600, "renewable": False}, keep="fixed"),
            post("auth/token/renew-self", {}, caller="fixed"),
            put("auth/token/revoke-self", caller="fixed"),
            *each(lambda body: post("auth/token/create", body), ({"ttl": "x"}, {"ttl": "-1s"}, b"{", [1])),
            post("auth/token/create", {}, caller="reader"),
            post("auth/token/create", {}, caller="anonymous"),
            post("auth/token/create", {}, caller="wrong"),
            get("auth/token/revoke-self"),
        ),
    ),
    Scenario(
        "tokens of others",
        "An administrator looks up, renews and revokes tokens by their text or accessor.",
        (
            post(f"{_TOKEN}/create", {"ttl": "1h"}, keep="new"),
            *each(
                lambda body: post(f"{_TOKEN}/lookup", body),
                ({"token": "{new}"}, {}, {"token": "nope"}, {"token": "{new}", "zz": 1}),
            ),
            get(f"{_TOKEN}/lookup"),
            *each(
                lambda body: post(f"{_TOKEN}/renew", body),
                ({"token": "{new}"}, {}, {"token": "nope"}, {"token": "{new}", "zz": 1}),
            ),
            *(
                post(f"{_TOKEN}/{operation}-accessor", body)
                for operation in ("lookup", "renew")
                for body in ({"accessor": "{new_accessor}"}, {"accessor": "nope"}, {})
            ),
            *(
                post(f"{_TOKEN}/{operation}", {"token": "{new}"}, caller=caller)
                for operation in ("lookup", "renew", "revoke", "revoke-orphan")
                for caller in ("reader", "anonymous", "wrong")
            ),
            listing(f"{_TOKEN}/accessors", caller="reader"),
            put(f"{_TOKEN}/revoke-accessor", {"accessor": "{new_accessor}"}),
            *each(
                lambda body: post(f"{_TOKEN}/revoke-accessor", body),
                ({"accessor": "{new_accessor}"}, {"accessor": "nope"}, {}),
            ),
            post(f"{_TOKEN}/lookup", {"token": "{new}"}),
            post(f"{_TOKEN}/renew", {"token": "{new}"}),
            *each(lambda body: post(f"{_TOKEN}/revoke", body), ({"token": "{new}"}, {"token": "nope"}, {})),
            *each(lambda body: post(f"{_TOKEN}/revoke-orphan", body), ({"token": "{new}"}, {})),
        ),
    ),
    Scenario(
        "families",
        "A revocation ends the tokens below a token, except orphans.",
        (
            post(f"{_TOKEN}/create", {"ttl": "1h"}, keep="parent"),
            post(f"{_TOKEN}/create", {"ttl": "30m"}, caller="parent", keep="child"),
            post(f"{_TOKEN}/create", {"ttl": "30m"}, caller="child", keep="grandchild"),
            post(f"{_TOKEN}/create", {"ttl": "30m", "no_parent": True}, caller="parent", keep="orphan"),
            post(f"{_TOKEN}/create-orphan", {"ttl": "30m"}, caller="parent", keep="second"),
            post(f"{_TOKEN}/create-orphan", {"ttl": "30m"}, caller="reader"),
            post(f"{_TOKEN}/revoke-self", {}, caller="parent"),
            *(
                post(f"{_TOKEN}/lookup", {"token": f"{{{name}}}"})
                for name in ("parent", "child", "grandchild", "orphan", "second")
            ),
            post(f"{_TOKEN}/create", {"ttl": "1h"}, keep="next"),
            post(f"{_TOKEN}/create", {"ttl": "30m"}, caller="next", keep="young"),
            post(f"{_TOKEN}/revoke-orphan", {"token": "{next}"}),
            post(f"{_TOKEN}/lookup", {"token": "{young}"}),
        ),
    ),
    Scenario(
        "periods",
        "A period takes the place of the lifetime, and a longest age limits both.",
        (
            *(
                call
                for number, body in enumerate(
                    (
                        {"period": "30m"},
                        {"period": "30m", "ttl": "1h", "explicit_max_ttl": "2h"},
                        {"period": "30m", "renewable": False},
                        {"period": 1_800, "explicit_max_ttl": 600},
                        {"ttl": "90m", "explicit_max_ttl": "61m"},
                        {"ttl": "1h", "zz": 1, "aa": 2},
                    )
                )
                for call in (
                    post(f"{_TOKEN}/create", body, keep=f"new{number}"),
                    post(f"{_TOKEN}/lookup", {"token": f"{{new{number}}}"}),
                    post(f"{_TOKEN}/renew", {"token": f"{{new{number}}}", "increment": "20m"}),
                )
            ),
            *each(lambda body: post(f"{_TOKEN}/create", body), ({"period": "x"}, {"period": "-1"})),
        ),
    ),
    Scenario(
        "approle",
        "A token's name and the token are a role and its secret.",
        (
            post(
                "auth/approle/login",
                {"role_id": "{role_id}", "secret_id": "{secret_id}"},
                caller="anonymous",
                keep="app",
            ),
            get("auth/token/lookup-self", caller="app"),
            listing("secret/metadata/~", caller="app"),
            post("secret/data/~/a", {"data": {}}, caller="app"),
            put("auth/approle/login", {"role_id": "{role_id}", "secret_id": "{secret_id}"}, caller="wrong"),
            *(
                post("auth/approle/login", body, caller="anonymous")
                for body in (
                    {"role_id": "{role_id}", "secret_id": "wrong"},
                    {"role_id": "wrong", "secret_id": "{secret_id}"},
                    {"role_id": "{role_id}"},
                    {"secret_id": "{secret_id}"},
                    {"role_id": "", "secret_id": ""},
                    {"role_id": 1, "secret_id": 2},
                    {"role_id": [1], "secret_id": {}},
                    {"role_id": "{role_id}", "secret_id": "{secret_id}", "unknown": 1},
                    {},
                    NOTHING,
                    b"{",
                )
            ),
            get("auth/approle/login", caller="anonymous"),
            # External Secrets Operator does so after each use.
            put("auth/token/revoke-self", caller="app"),
            get("auth/token/lookup-self", caller="app"),
            post(
                "auth/approle/login",
                {"role_id": "{role_id}", "secret_id": "{secret_id}"},
                caller="anonymous",
                keep="app",
            ),
            get("auth/token/lookup-self", caller="app"),
        ),
    ),
    Scenario(
        "jwt",
        "A JWT logs in with a role.",
        (
            post("auth/jwt/login", {"role": "ci", "jwt": "{jwt}"}, caller="anonymous", keep="job"),
            get("auth/token/lookup-self", caller="job"),
            listing("secret/metadata/~", caller="job"),
            post("secret/data/~/a", {"data": {}}, caller="job"),
            *(
                post("auth/jwt/login", body, caller="anonymous")
                for body in (
                    {"role": "nope", "jwt": "{jwt}"},
                    {"jwt": "{jwt}"},
                    {"role": "ci"},
                    {"role": "ci", "jwt": "x"},
                    {"role": "ci", "jwt": "a.b.c"},
                    {"role": "ci", "jwt": "{other_claim}"},
                    {"role": "ci", "jwt": "{other_audience}"},
                    {"role": "ci", "jwt": "{other_issuer}"},
                    {"role": "ci", "jwt": "{expired}"},
                    {"role": "ci", "jwt": "{other_key}"},
                    # White space in it, as files have.
                    {"role": "ci", "jwt": "{jwt}\n"},
                    {"role": "ci", "jwt": " \t{jwt}\r\n"},
                    {"role": "ci", "jwt": "{broken_jwt}"},
                    {"role": "ci", "jwt": "\n"},
                    {"role": "ci\n", "jwt": "{jwt}"},
                    {},
                    NOTHING,
                    b"{",
                )
            ),
            get("auth/jwt/login", caller="anonymous"),
        ),
    ),
)

_UNWRAP = "sys/wrapping/unwrap"

WRAPPING = (
    Scenario(
        "wrapping",
        "A wrapped reply is read once, with its token in the header or the body.",
        (
            write("a", k="v"),
            get("secret/data/~/a", headers=WRAP, keep="one"),
            post("sys/wrapping/lookup", {"token": "{one}"}, caller="anonymous"),
            post("sys/wrapping/lookup", {"token": "{one}"}),
            post(_UNWRAP, caller="one"),
            post(_UNWRAP, caller="one"),
            post(_UNWRAP, {"token": "{one}"}),
            post("sys/wrapping/lookup", {"token": "{one}"}),
            get("secret/data/~/a", headers=WRAP, keep="two"),
            put(_UNWRAP, {"token": "{two}"}),
            get("secret/data/~/a", headers=WRAP, keep="three"),
            post(_UNWRAP, {"token": "{three}"}, caller="anonymous"),
            get("secret/data/~/a", headers=WRAP, keep="four"),
            post(_UNWRAP, {"token": "{four}"}, caller="wrong"),
            post(_UNWRAP, b"null", caller="four"),
            get("secret/data/~/a", headers=WRAP, keep="five"),
            post(_UNWRAP, {"token": "{five}"}, caller="team"),
        ),
    ),
    Scenario(
        "wrapping again",
        "An unwrapped reply can be wrapped again; a look-up is answered as it is.",
        (
            post("sys/wrapping/wrap", {"a": 1}, headers=WRAP, keep="first"),
            post("sys/wrapping/lookup", {"token": "{first}"}, headers=WRAP, caller="anonymous"),
            post(_UNWRAP, headers={"X-Vault-Wrap-TTL": "24h"}, caller="first", keep="second"),
            post(_UNWRAP, caller="second"),
        ),
    ),
    Scenario(
        "wrapping elsewhere",
        "A wrapping token on another path is denied, and spent.",
        (
            write("a", k="v"),
            get("secret/data/~/a", headers=WRAP, keep="one"),
            get("secret/data/~/a", caller="one"),
            post(_UNWRAP, caller="one"),
            get("secret/data/~/a", headers=WRAP, keep="two"),
            get("auth/token/lookup-self", caller="two"),
            post(_UNWRAP, caller="two"),
        ),
    ),
    Scenario(
        "wrapping replies",
        "Any reply with a body can be wrapped; errors and empty replies are not.",
        (
            post("secret/data/~/a", {"data": {"k": 2}}, headers=WRAP, keep="write"),
            post(_UNWRAP, caller="write"),
            listing("secret/metadata/~", headers=WRAP, keep="list"),
            post(_UNWRAP, caller="list"),
            get("auth/token/lookup-self", headers=WRAP, keep="lookup"),
            post(_UNWRAP, caller="lookup"),
            get("secret/metadata/~/a", headers=WRAP, keep="metadata"),
            post(_UNWRAP, caller="metadata"),
            post(
                "auth/approle/login",
                {"role_id": "{role_id}", "secret_id": "{secret_id}"},
                headers=WRAP,
                caller="anonymous",
                keep="login",
            ),
            post(_UNWRAP, caller="login"),
            get("secret/data/~/missing", headers=WRAP),
            delete("secret/data/~/missing", headers=WRAP),
            post("secret/data/~/a", {}, headers=WRAP),
            post("secret/metadata/~/a", {"custom_metadata": {"a": "b"}}, headers=WRAP),
            get("secret/data/~/a", headers=WRAP, caller="wrong"),
            get("sys/health", headers=WRAP),
        ),
    ),
    Scenario(
        "wrapping times",
        "The life of a wrapping is a number of seconds or a duration.",
        (
            write("a", k="v"),
            *(
                get("secret/data/~/a", headers={"X-Vault-Wrap-TTL": text})
                for text in ("60", "60s", "1m", "1h", "90m", "1d", "0", "", "-1", "x", "1.5", "1h30m")
            ),
        ),
    ),
    Scenario(
        "wrapping values",
        "Any object can be wrapped.",
        (
            *(
                call
                for number, body in enumerate(
                    ({"a": 1, "n": {"x": [1]}}, {}, NOTHING, None, {"big": 9007199254740993})
                )
                for call in (
                    post("sys/wrapping/wrap", body, headers=WRAP, keep=f"w{number}"),
                    post(_UNWRAP, {}, caller=f"w{number}"),
                )
            ),
            *each(lambda body: post("sys/wrapping/wrap", body, headers=WRAP), ([1], b"{")),
            post("sys/wrapping/wrap", {"a": 1}),
            post("sys/wrapping/wrap", {"a": 1}, headers=WRAP, caller="anonymous"),
            post("sys/wrapping/wrap", {"a": 1}, headers=WRAP, caller="team", keep="theirs"),
            post("sys/wrapping/lookup", {"token": "{theirs}"}, caller="anonymous"),
            post(_UNWRAP, {"token": "{theirs}"}, caller="reader"),
            get("sys/wrapping/wrap"),
        ),
    ),
    Scenario(
        "no wrapping",
        "What is not a wrapping token unwraps nothing.",
        (
            *(
                post(_UNWRAP, body)
                for body in (NOTHING, {}, {"token": "no"}, {"token": 5}, {"token": "{admin}"}, b"{")
            ),
            *(post(_UNWRAP, caller=caller) for caller in ("anonymous", "wrong", "team")),
            *(
                post("sys/wrapping/lookup", body, caller=caller)
                for body in ({"token": "no"}, {})
                for caller in ("admin", "anonymous")
            ),
            get(_UNWRAP),
        ),
    ),
)

SCENARIOS = (*VERSIONS, *VALUES, *METADATA, *PATCHES, *LISTS, *ROUTES, *CALLERS, *SYSTEM, *TOKENS, *WRAPPING)

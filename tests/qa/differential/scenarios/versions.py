"""Scenarios of versions and patches of a secret."""

from typing import Any

from tests.qa.differential.scenarios.calls import (
    NOTHING,
    Scenario,
    delete,
    each,
    get,
    listing,
    metadata,
    patch,
    post,
    put,
    read,
    write,
)

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

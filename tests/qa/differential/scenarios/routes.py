"""Scenarios of lists, paths and methods."""

from tests.qa.differential.scenarios.calls import (
    Call,
    Scenario,
    delete,
    get,
    listing,
    metadata,
    patch,
    post,
    put,
    read,
    write,
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
        "refused names",
        "Names that look like others, or change on their way, are refused.",
        (
            *(
                call
                for name in ("a%20", "u%CC%88", "a%FF", "a%00b")
                for call in (write(name, k=1), read(name))
            ),
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

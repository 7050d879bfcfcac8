"""Stack files, as Docker reads them."""

import pytest

from vault.clients.swarm.stacks.file import MAX_BYTES, Stack, StackFileError, StackSecret, StackService, read

SHOP = b"""
x-all: &all {image: "shop:1"}
services:
  api:
    <<: *all
    secrets: [db, {source: tls, target: key.pem, mode: 0400}]
  worker: {image: "${REGISTRY:-docker.io}/worker", secrets: }
  idle:
secrets:
  db: {driver: secret-manager, labels: {secret-manager.name: shop/db, secret-manager.version: 3}}
  tls:
    driver: $DRIVER
    labels: [secret-manager.name=shop/tls, other]
  old: {external: true}
  older: {external: {name: oldest}}
  own: {external: false, file: own.txt}
volumes: {data: }
"""


def secret(driver: str = "", *, external: bool = False, **labels: str) -> StackSecret:
    return StackSecret(driver=driver, is_external=external, labels=labels)


def refused(content: bytes, **variables: str | None) -> str:
    with pytest.raises(StackFileError) as refusal:
        read(content, variables)
    return str(refusal.value)


def image(text: str, **variables: str | None) -> str:
    """Return the image of a service that is written as *text*."""
    return read(b"services: {a: {image: '%s'}}" % text.encode(), variables).services["a"].image


def test_services_and_secrets_are_read() -> None:
    """Anchors, merges, short and long forms, and labels as a mapping or a list are read."""
    stack = read(SHOP, {"DRIVER": "secret-manager"})
    assert stack.services == {
        "api": StackService(image="shop:1", secrets=("db", "tls")),
        "worker": StackService(image="docker.io/worker", secrets=()),
        "idle": StackService(image="", secrets=()),
    }
    assert stack.secrets == {
        "db": secret("secret-manager", **{"secret-manager.name": "shop/db", "secret-manager.version": "3"}),
        "tls": secret("secret-manager", **{"secret-manager.name": "shop/tls", "other": ""}),
        "old": secret(external=True),
        "older": secret(external=True),
        "own": secret(),
    }


@pytest.mark.parametrize("text", ["false", "False", "FALSE", "no", "off", "n", "null", "~", ""])
def test_a_secret_that_is_not_external(text: str) -> None:
    """Docker takes each of these for false, in any case of letters."""
    assert read(b"secrets: {a: {external: %s}}" % text.encode(), {}).secrets == {"a": secret()}


def test_a_file_without_secrets_is_a_stack() -> None:
    """Both sections are optional."""
    assert read(b"networks: {a: }", {}) == Stack()
    assert read(b"services: ~\nsecrets: null", {}) == Stack()


def test_files_are_merged() -> None:
    """A later file adds services and their secrets, and replaces images and definitions of secrets."""
    below = read(b"services: {a: {image: one, secrets: [x, y]}, b: }\nsecrets: {x: {driver: d}, y: }", {})
    above = read(
        b"services: {a: {secrets: [y, z]}, b: {image: two}, c: {image: three}}\nsecrets: {x: , z: }", {}
    )
    assert below.merged(above) == Stack(
        {
            "a": StackService(image="one", secrets=("x", "y", "z")),
            "b": StackService(image="two", secrets=()),
            "c": StackService(image="three", secrets=()),
        },
        {"x": secret(), "y": secret(), "z": secret()},
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$A", "set"),
        ("${A}", "set"),
        ("x-${A}-$A.y", "x-set-set.y"),
        ("$$A", "$A"),
        ("$NONE", ""),
        ("${NONE}", ""),
        ("${NONE-else}", "else"),
        ("${NONE:-else}", "else"),
        ("${NONE:-}", ""),
        ("${EMPTY-else}", ""),
        ("${EMPTY:-else}", "else"),
        ("${A:-else}", "set"),
        ("${A?must be set}", "set"),
        ("${EMPTY?must be set}", ""),
    ],
)
def test_variables_are_replaced(text: str, expected: str) -> None:
    """References to variables have the forms and defaults of Docker."""
    assert image(text, A="set", EMPTY="", NONE=None) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("${NONE?must be set}", "services.a.image: the variable NONE is not set: must be set"),
        ("${NONE:?}", "services.a.image: the variable NONE is not set"),
        ("${EMPTY:?must be set}", "the variable EMPTY is not set: must be set"),
        ("${A", "an invalid reference to a variable; write $$ for a dollar sign"),
        ("5 $", "an invalid reference to a variable"),
        ("${A:+x}", "an invalid reference to a variable"),
    ],
)
def test_unusable_variables_are_refused(text: str, reason: str) -> None:
    """A required variable that is unset, and an invalid reference, are errors that name the place."""
    with pytest.raises(StackFileError, match=r"^services\.a\.image: ") as refusal:
        image(text, A="set", EMPTY="", NONE=None)
    assert reason in str(refusal.value)


def test_a_variable_that_is_not_named_is_refused() -> None:
    """An error names all variables that were not given; a default stands for one that has no value."""
    given = b"services: {a: {image: '$B-${A?x}-${C:-x}-${D-x}'}}\nsecrets: {a: {driver: $B}}"
    assert refused(given, D=None) == ("it refers to 2 variables without --env: A, B; add --env A --env B")
    with pytest.raises(StackFileError, match="1 variable without --env: C; add --env C"):
        read(given, {"A": "a", "B": "b"}, {"C": "secret"})
    assert read(given, {"A": "a", "B": "b"}).services["a"].image == "b-a-x-x"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a mapping with services and secrets"),
        (b"- a", "not a mapping with services and secrets"),
        (b"\xff\xfe\xff", "not YAML in UTF-8"),
        (b"a: \x00", "not YAML in UTF-8"),
        (b"a: !!int x", "not YAML in UTF-8"),
        (b"a:\n  - [b", "invalid YAML: line 2: expected ',' or ']'"),
        (b"a: !own b", "invalid YAML: line 1: could not determine a constructor"),
        (b"a: b\n---\nc: d", "invalid YAML: line 2: but found another document"),
        (b"{" * 1_000, "nested too deeply"),
        (b"a: " + b"b" * MAX_BYTES, "more than 1048576 bytes"),
        (b"services: [a]", "services is not a mapping"),
        (b"services: {a: [b]}", "services.a is not a mapping"),
        (b"services: {a: {secrets: b}}", "services.a.secrets is not a list"),
        (b"services: {a: {secrets: [[b]]}}", "services.a.secrets is not text"),
        (b"services: {a: {secrets: [{target: b}]}}", "services.a.secrets is not text"),
        (b"services: {a: {image: [b]}}", "services.a.image is not text"),
        (b"secrets: {a: {driver: {b: c}}}", "secrets.a.driver is not text"),
        (b"secrets: {a: {external: [b]}}", "secrets.a.external is not text"),
        (b"secrets: {a: {labels: b}}", "secrets.a.labels is not a mapping"),
        (b"secrets: {a: {labels: {b: [c]}}}", "secrets.a.labels.b is not text"),
        (b"secrets: {a: {labels: [{b: c}]}}", "secrets.a.labels is not text"),
    ],
    ids=lambda value: repr(value[:30]),
)
def test_what_is_no_stack_file_is_refused(content: bytes, reason: str) -> None:
    """Content that is not a stack file is an error that says where and why."""
    assert reason in refused(content)


def test_aliases_are_limited() -> None:
    """Aliases of aliases, which multiply, are refused or cost nothing."""
    levels = [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 90)}], k{n}: v}}" for n in range(1, 11)]
    many = "\n".join(["a0: &a0 {k0: v}", *levels]).encode()
    assert read(many, {}) == Stack()
    assert refused(many + b"\nb: [" + b"*a0, " * 101 + b"]") == "more than 1000 aliases"
    lists = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 90)}]" for n in range(1, 11)]
    nested = "\n".join(["a0: &a0 [x]", *lists, "services: {s: {secrets: *a10}}"]).encode()
    assert refused(nested) == "services.s.secrets is not text"

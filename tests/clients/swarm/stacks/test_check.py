"""Checks of stacks against descriptions of secrets, labels, policy and paths."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from vault.clients.delivery.policy import PolicyFile
from vault.clients.delivery.selection import Reference
from vault.clients.swarm.stacks.check import Finding, StackCheck, deployed
from vault.clients.swarm.stacks.file import read
from vault.common.paths import ALL_PATHS, Paths
from vault.core.crypto.token import new_token

ID = "550e8400-e29b-41d4-a716-446655440000"


def at(**ago: int) -> str:
    return (datetime.now(UTC) - timedelta(**ago)).isoformat()


def described(*versions: tuple[int, str | None], **fields: object) -> dict[str, Any]:
    """Return the description of a secret with these *versions*, newest first, and their deletions."""
    return {
        "name": "shop/db",
        "version": versions[0][0],
        "versions": [{"version": number, "deleted_at": deleted} for number, deleted in versions],
        "max_reads": None,
        "reads_left": None,
        "expires_at": None,
    } | fields


FOUND = {Reference(name="shop/db"): described((2, None))}


def check(
    content: str,
    found: Mapping[Reference, Mapping[str, Any]] = FOUND,
    *,
    policy: PolicyFile | None = None,
    paths: Paths = ALL_PATHS,
) -> list[Finding]:
    asked = StackCheck(
        lambda reference: found.get(Reference(name=reference.name, secret_id=reference.secret_id)),
        stack_name="shop",
        driver="secret-manager",
        policy=policy,
        paths=paths,
    )
    return list(asked.run(read(content.encode(), {})))


def one(
    labels: str,
    found: Mapping[Reference, Mapping[str, Any]] = FOUND,
    *,
    image: str = "api:1",
    **options: Any,
) -> Finding:
    """Return the finding for a secret `db` with *labels* that the service `shop_api` uses."""
    [finding] = check(
        f"services: {{api: {{image: '{image}', secrets: [db]}}}}\n"
        f"secrets: {{db: {{driver: secret-manager, labels: {{{labels}}}}}}}",
        found,
        **options,
    )
    return finding


def test_a_secret_that_can_be_delivered_has_no_problems() -> None:
    """A secret that exists, and that its service may have, is found with its name and services."""
    labels = "secret-manager.name: shop/db, secret-manager.services: shop_*, secret-manager.images: 'api:1'"
    assert one(labels, paths=Paths.of(["shop/"])) == Finding("db", name="shop/db", services=["shop_api"])


def test_only_secrets_of_the_driver_are_checked() -> None:
    """Docker's own secrets are left out; another driver, which can be mistyped, is noted."""
    assert check("secrets: {a: {external: true}, b: {file: b}, c: {driver: secret-manger}}") == [
        Finding("c", services=[], notes=["not checked: its driver is secret-manger"], is_checked=False)
    ]


def test_labels_without_the_driver_are_a_problem() -> None:
    """Labels of this product have no effect without its driver."""
    labels = "labels: {secret-manager.name: shop/db}"
    [other, none] = check(
        "services: {api: {secrets: [a]}}\n"
        f"secrets: {{a: {{driver: b, {labels}}}, c: {{file: c, {labels}}}}}"
    )
    reason = "and it has labels for the driver secret-manager"
    assert other == Finding(
        "a", services=["shop_api"], problems=[f"its driver is b, {reason}"], is_checked=False
    )
    assert none == Finding("c", services=[], problems=[f"it has no driver, {reason}"], is_checked=False)


def test_an_undefined_secret_is_a_problem() -> None:
    """A secret that a service asks for and the stack does not define is found."""
    assert check("services: {a: {secrets: [db]}, b: {secrets: [db]}}") == [
        Finding("db", services=["shop_a", "shop_b"], problems=["the stack does not define it"])
    ]


def test_an_external_secret_with_a_driver_is_a_problem() -> None:
    """For an external secret, Docker ignores driver and labels."""
    [finding] = check(
        "secrets: {db: {driver: secret-manager, external: true, labels: {secret-manager.name: shop/db}}}"
    )
    assert finding.problems == ["it is external: Docker ignores its driver and labels"]


def test_invalid_labels_are_a_problem() -> None:
    """Labels that the driver would refuse are found, with the driver's reason."""
    assert one("").problems == ["set one of the labels secret-manager.name and secret-manager.id"]
    [problem] = one("secret-manager.name: shop/db, secret-manager.servces: a").problems
    assert problem.startswith("unknown label secret-manager.servces")


def test_a_credential_is_neither_shown_nor_looked_up() -> None:
    """A name that has the form of a credential is a problem, and no part of a finding contains it."""
    own, jwt, theirs = new_token(), f"eyJ{'a' * 20}.b.c", f"hvs.{'a' * 24}"

    class Never(dict[Reference, Mapping[str, Any]]):
        def get(self, *_: object) -> Any:
            raise AssertionError

    for token, problem in (
        (
            own,
            "secret-manager.name must be a name such as billing/db-password, which must not contain a token",
        ),
        (jwt, "its name has the form of a credential, so it was not looked up"),
        (theirs, "its name has the form of a credential, so it was not looked up"),
    ):
        assert one(f"secret-manager.name: a/{token}", Never()).problems == [problem]
        [finding] = check(
            f"services: {{'{token}': {{image: '{token}', secrets: ['{token}']}}}}\n"
            f"secrets: {{'{token}': {{driver: secret-manager, labels: {{secret-manager.name: shop/db, "
            f"secret-manager.images: x, secret-manager.field: '{token}'}}}}}}"
        )
        assert len(finding.problems) == len(finding.notes) == 1
        assert token not in repr(finding)


def test_missing_secrets_are_a_problem() -> None:
    """A secret that the service does not have is found; its ID is not shown."""
    assert one("secret-manager.name: shop/none").problems == [
        "shop/none does not exist, or is outside the paths of your token"
    ]
    finding = one(f"secret-manager.id: {ID}")
    assert finding.problems == ["the ID does not exist, or is outside the paths of your token"]
    assert finding.name == ""


def test_labels_that_name_no_service_or_image_are_a_problem() -> None:
    """A service or an image that the labels do not name is found, by the service's name in the swarm."""
    finding = one("secret-manager.name: shop/db, secret-manager.services: shop_web, secret-manager.images: x")
    assert finding.problems == [
        "shop_api: the label secret-manager.services does not name the service shop_api"
    ]
    assert one("secret-manager.name: shop/db, secret-manager.images: x").problems == [
        "shop_api: the label secret-manager.images does not name the image api:1"
    ]


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("nginx", "nginx:latest"),
        ("nginx:1", "nginx:1"),
        ("docker.io/library/nginx:1", "nginx:1"),
        ("index.docker.io/library/nginx", "nginx:latest"),
        ("library/nginx", "nginx:latest"),
        ("docker.io/shop/api", "shop/api:latest"),
        ("docker.io/library/shop/api:1", "library/shop/api:1"),
        ("registry.example.com:5000/shop/api", "registry.example.com:5000/shop/api:latest"),
        ("registry.example.com/library/api:1", "registry.example.com/library/api:1"),
        ("nginx@sha256:0123", "nginx@sha256:0123"),
        ("docker.io/library/nginx:1@sha256:0123", "nginx:1@sha256:0123"),
    ],
)
def test_images_have_the_names_of_the_swarm(image: str, expected: str) -> None:
    """The default registry goes, and a name without a tag and a digest gets the default tag."""
    assert (deployed(image), deployed("")) == (expected, "")
    labels = f"secret-manager.name: shop/db, secret-manager.images: '{expected}'"
    assert one(labels, image=image).problems == []
    as_written = f"secret-manager.name: shop/db, secret-manager.images: '{image}'"
    assert (one(as_written, image=image).problems == []) is (image == expected)


def test_the_table_of_the_operator_is_checked(tmp_path: Path) -> None:
    """A service that the policy's table does not allow the secret is found."""
    table = tmp_path / "policy.toml"
    table.write_text('[services]\nshop_web = ["shop/"]\n')
    finding = one("secret-manager.name: shop/db", policy=PolicyFile(table))
    assert finding.problems == ["shop_api: the policy does not allow this secret to the service shop_api"]
    table.write_text('[services]\nshop_api = ["shop/"]\n')
    assert one("secret-manager.name: shop/db", policy=PolicyFile(table)).problems == []


def test_the_paths_of_the_drivers_token_are_checked() -> None:
    """A secret outside the paths is found, by its name, and by the name that its ID has."""
    paths = Paths.of(["billing/"])
    assert one("secret-manager.name: shop/db", paths=paths).problems == [
        "shop/db is outside the paths of the driver's token"
    ]
    by_id = {Reference(secret_id=ID): described((1, None))}
    label = f"secret-manager.id: {ID}"
    assert one(label, by_id, paths=paths).problems == ["the ID is outside the paths of the driver's token"]
    assert one(label, by_id, paths=Paths.of(["shop/"])).problems == []
    assert one(label, by_id).problems == []


def test_versions_that_cannot_be_read_are_a_problem() -> None:
    """A version that is deleted or no longer kept is found; a deletion ahead is not one yet."""
    found = {Reference(name="shop/db"): described((4, at(days=1)), (3, at(days=-1)), (2, None))}
    name = "secret-manager.name: shop/db"
    reason = "version {} cannot be read: it is deleted, purged, or was never stored"
    assert one(name, found).problems == [reason.format(4)]
    for version, problems in ((1, [reason.format(1)]), (2, []), (3, []), (4, [reason.format(4)])):
        assert one(f"{name}, secret-manager.version: {version}", found).problems == problems
    empty = {Reference(name="shop/db"): described((0, None), versions=[])}
    assert one(name, empty).problems == [reason.format(0)]


def test_limits_and_fields_are_notes() -> None:
    """Read limits, expiries and fields are not problems, and are noted."""
    found = {Reference(name="shop/db"): described((1, None), max_reads=5, reads_left=1, expires_at="2030")}
    finding = one("secret-manager.name: shop/db, secret-manager.field: password", found)
    assert finding.problems == []
    assert finding.notes == [
        "1 read left, and each task that starts takes one",
        "expires at 2030",
        "the field password is not checked: that needs the value",
    ]

"""Plans of imports: which secrets, and under which names."""

from collections.abc import Mapping

import pytest

from vault.clients.swarm.engine import DRIVER
from vault.clients.swarm.imports.plan import (
    IMPORT_LABEL,
    STACK_LABEL,
    ImportPlanError,
    Item,
    Plan,
    SwarmSecret,
    Users,
    keys,
    plan,
)


def secret(
    name: str, driver: str = "", *, users: Users = Users.NONE, is_template: bool = False, **labels: str
) -> SwarmSecret:
    return SwarmSecret(
        secret_id=f"id-of-{name}",
        name=name,
        driver=driver,
        labels=labels,
        users=users,
        is_template=is_template,
    )


def planned(
    *secrets: SwarmSecret,
    only: tuple[str, ...] = (),
    labels: Mapping[str, str] | None = None,
    prefix: str = "",
    names: Mapping[str, str] | None = None,
) -> Plan:
    return plan(secrets, only=only, labels=labels or {}, prefix=prefix, names=names or {})


def named(found: Plan) -> dict[str, str]:
    """Return the names in the swarm, and here, of what is to be imported."""
    return {item.secret.name: item.name for item in found.items}


def test_all_secrets_keep_their_names() -> None:
    """Every secret is imported under its name, in order; each name of Docker's is valid here."""
    names = ["A.b", "a..b", "a__b", "9"]
    found = planned(*map(secret, names))
    assert found == Plan([Item(secret(name), name, f"{name}.managed") for name in sorted(names)], [])


def test_names_are_below_a_folder_or_chosen() -> None:
    """A folder is added to all names except those that are given."""
    found = planned(secret("a"), secret("b"), prefix="shop/", names={"b": "billing/b"})
    assert named(found) == {"a": "shop/a", "b": "billing/b"}


def test_secrets_are_selected_by_name_and_label() -> None:
    """Only named secrets with all labels are imported, if any are given."""
    secrets = secret("a", env="prod", team="x"), secret("b", env="prod"), secret("c")
    assert named(planned(*secrets, only=("a", "c"))).keys() == {"a", "c"}
    assert named(planned(*secrets, labels={"env": "prod"})).keys() == {"a", "b"}
    assert named(planned(*secrets, labels={"env": "prod", "team": "x"})).keys() == {"a"}
    assert planned(*secrets, labels={"env": ""}) == Plan([], [])


OWN_NAMES = [
    "mongo_uri",
    "mongodb_key_file",
    "mongodb_root_password",
    "master_key_v12",
    "swarm_driver_token",
    "grafana_admin_password",
]


@pytest.mark.parametrize("name", OWN_NAMES)
def test_the_products_own_secrets_are_skipped(name: str) -> None:
    """Secrets with the names of this product's own are skipped, unless services of others mount them."""
    reason = "it belongs to Secret Manager itself"
    assert planned(secret(name)) == Plan([], [(secret(name), reason)])
    assert named(planned(secret(f"{name}_x"))) == {f"{name}_x": f"{name}_x"}
    assert named(planned(secret(name, users=Users.OTHERS))) == {name: name}


def test_secrets_that_the_product_mounts_are_skipped() -> None:
    """The master key is never imported, whatever its name is."""
    own = secret("our_key", users=Users.OURS)
    assert planned(own) == Plan([], [(own, "it belongs to Secret Manager itself")])


def test_a_named_secret_that_would_be_skipped_is_an_error() -> None:
    """If a secret is named with --only and cannot be imported, the plan is refused with the reason."""
    with pytest.raises(ImportPlanError, match="our_key cannot be imported: it belongs to Secret Manager"):
        planned(secret("our_key", users=Users.OURS), secret("a"), only=("a", "our_key"))


def test_templates_are_skipped() -> None:
    """Docker fills in a template for each task, so the import's task would see another value."""
    template = secret("a", is_template=True)
    assert planned(template).skipped == [(template, "it is a template, whose value each task has for itself")]


def test_what_cannot_be_imported_is_skipped() -> None:
    """Secrets with a driver, an import's own, and those with too long a name are skipped with the reason."""
    found = planned(
        secret("a", "other"), secret("b", **{IMPORT_LABEL: "x"}), secret("c"), prefix="x" * 511 + "/"
    )
    assert found.items == []
    assert [(one.name, reason[:34]) for one, reason in found.skipped] == [
        ("a", "the driver other has its value, no"),
        ("b", "it belongs to Secret Manager itself"[:34]),
        ("c", "its name here must have at most 512 bytes in UTF-8"[:34]),
    ]


def test_impossible_plans_are_refused() -> None:
    """Names that the swarm lacks, and two secrets under one name, are errors."""
    for options in ({"only": ("b",)}, {"names": {"b": "c"}}):
        with pytest.raises(ImportPlanError, match="the swarm has no secret b"):
            planned(secret("a"), **options)  # type: ignore[arg-type]
    with pytest.raises(ImportPlanError, match="2 secrets would have the name b; give them"):
        planned(secret("a"), secret("b"), names={"a": "b"})


def successors(*secrets: SwarmSecret) -> list[str]:
    return [item.successor for item in planned(*secrets).items]


def test_successors_have_names_of_their_own() -> None:
    """Under the same name, Docker would keep its secret; so no successor has one that exists or is taken."""
    assert successors(secret("shop_db")) == ["shop_db.managed"]
    assert successors(secret("a"), secret("a.managed")) == ["a.managed2", "a.managed.managed"]
    long = "s" * 56
    found = successors(secret(f"{long}_v1"), secret(f"{long}_v2"))
    assert found == [f"{long}.managed", f"{long[:-1]}.managed2"]
    assert max(map(len, found)) == 64


def test_a_repeated_import_has_the_same_successors() -> None:
    """A successor that delivers the same secret is kept; one that delivers another is not."""
    assert successors(secret("a"), secret("a.managed", DRIVER, **{"secret-manager.name": "a"})) == [
        "a.managed"
    ]
    other = secret("a.managed", DRIVER, **{"secret-manager.name": "b"})
    assert successors(secret("a"), other) == ["a.managed2"]
    assert successors(secret("a"), secret("a.managed", "other")) == ["a.managed2"]


def test_the_key_stays() -> None:
    """The key in the file of a stack, and so the file's name in tasks, has not the name of the stack."""
    stack = {STACK_LABEL: "shop"}
    assert keys([secret("shop_db", **stack), secret("tls", **stack)]) == ["db", "tls"]
    assert keys([secret("shop_db"), secret("shop_")]) == ["shop_db", "shop_"]
    assert keys([secret("shop_", **stack)]) == ["shop_"]
    assert keys([secret("shop_db", **stack), secret("db", **stack)]) == ["shop_db", "db"]

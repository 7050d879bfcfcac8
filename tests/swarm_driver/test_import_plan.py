"""Plans of imports: which secrets, and under which names."""

from collections.abc import Mapping

import pytest

from vault.swarm.import_plan import IMPORT_LABEL, ImportPlanError, Item, Plan, SwarmSecret, plan


def secret(name: str, driver: str = "", **labels: str) -> SwarmSecret:
    return SwarmSecret(secret_id=f"id-of-{name}", name=name, driver=driver, labels=labels)


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
    names = ["A.b", "a..b", "a__b", "9", "a" * 64]
    found = planned(*map(secret, names))
    assert found == Plan([Item(secret(name), name) for name in sorted(names)], [])


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


@pytest.mark.parametrize(
    "name",
    ["mongo_uri", "mongodb_key_file", "mongodb_root_password", "master_key_v12", "swarm_driver_token"],
)
def test_the_products_own_secrets_are_skipped(name: str) -> None:
    """The secrets of this product's own stacks are never imported, even if they are named."""
    reason = "it belongs to Secret Manager itself"
    assert planned(secret(name)) == Plan([], [(secret(name), reason)])
    assert planned(secret(name), only=(name,)) == Plan([], [(secret(name), reason)])
    assert named(planned(secret(f"{name}_x"))) == {f"{name}_x": f"{name}_x"}


def test_what_cannot_be_imported_is_skipped() -> None:
    """Secrets with a driver, an import's own, and those with too long a name are skipped with the reason."""
    found = planned(
        secret("a", "other"), secret("b", **{IMPORT_LABEL: "x"}), secret("c"), prefix="x" * 255 + "/"
    )
    assert found.items == []
    assert [(one.name, reason[:34]) for one, reason in found.skipped] == [
        ("a", "the driver other has its value, no"),
        ("b", "it belongs to Secret Manager itself"[:34]),
        ("c", "its name here would be too long: x"),
    ]


def test_impossible_plans_are_refused() -> None:
    """Names that the swarm lacks, and two secrets under one name, are errors."""
    for options in ({"only": ("b",)}, {"names": {"b": "c"}}):
        with pytest.raises(ImportPlanError, match="the swarm has no secret b"):
            planned(secret("a"), **options)  # type: ignore[arg-type]
    with pytest.raises(ImportPlanError, match="2 secrets would have the name b; use --name"):
        planned(secret("a"), secret("b"), names={"a": "b"})


def test_the_successor_has_the_same_key_and_another_name() -> None:
    """The key stays, and so does the file's name; with the same name, Docker would keep its secret."""
    of_stack = secret("shop_db", **{"com.docker.stack.namespace": "shop"})
    assert (of_stack.key, of_stack.successor) == ("db", "shop_db.managed")
    assert (secret("db").key, secret("db").successor) == ("db", "db.managed")
    assert len(secret("x" * 64).successor) == 64

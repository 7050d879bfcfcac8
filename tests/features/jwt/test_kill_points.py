"""A process that is killed while it creates a role leaves no unrecorded effect."""

import pytest

from tests.support.access_roles import operator
from tests.support.issuer import AUDIENCE, ISSUER, public_pem
from tests.support.kill_points import killed
from tests.support.lifecycle import ALICE
from tests.support.rotation import Stored
from tests.support.unrecorded import unrecorded
from vault.core.attempt import Action
from vault.core.services import Services
from vault.features.jwt.directory import SETTINGS_ISSUER
from vault.features.jwt.roles import NewRole, Roles

pytestmark = pytest.mark.process


def create_role(found: Services, name: str) -> None:
    """Create a role, which only administrators without limits may for this issuer."""
    new = NewRole(name=name, issuer=SETTINGS_ISSUER, claims=("sub=job",), scopes=ALICE.scopes)
    found.of(Roles).create(new, attempt=operator(Action.ROLE_CREATE))


def test_a_process_killed_while_it_creates_a_role_leaves_nothing_unrecorded(
    environment: dict[str, str], stored: Stored
) -> None:
    """After a kill at any write of a role's creation, every role in effect has its entry."""
    settings = {"JWT_PUBLIC_KEY": public_pem(), "JWT_ISSUER": ISSUER, "JWT_AUDIENCE": AUDIENCE}
    killed({**environment, **settings}, f"{__name__}:{create_role.__name__}")
    assert stored.roles.count_documents({"pending": None}) >= 1
    assert unrecorded(stored) == {}

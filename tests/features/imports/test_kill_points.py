"""An import that is killed at any of its writes leaves no unrecorded effect."""

from datetime import UTC, datetime

import pytest

from tests.support.kill_points import killed
from tests.support.lifecycle import ALICE
from tests.support.rotation import Stored
from tests.support.unrecorded import unrecorded
from vault.common.attributes import Description
from vault.core.documents.write_rules import WriteRules
from vault.core.services import Services
from vault.features.imports.kv_source import SourceSecret, SourceVersion
from vault.features.imports.writer import ImportWriter

pytestmark = pytest.mark.process


def take_in(found: Services, name: str) -> None:
    """Import two secrets with two versions each."""
    time = datetime(2026, 11, 24, tzinfo=UTC)
    versions = [
        SourceVersion(number=number, created_at=time, deleted_at=None, value=b"value") for number in (4, 5)
    ]
    secret = SourceSecret(
        created_at=time,
        metadata_version=0,
        description=Description(),
        versions=versions,
        skipped=0,
        rules=WriteRules(),
    )
    keyring = found.secrets._keyring
    writer = ImportWriter(keyring, found.guard, namespace=ALICE.namespace, source="https://source.example")
    assert writer.write({f"{name}-a": secret, f"{name}-b": secret}) == {}


@pytest.mark.promise(3)
def test_a_killed_process_leaves_nothing_unrecorded(environment: dict[str, str], stored: Stored) -> None:
    """After a kill at any write, every imported secret that is readable has its entry."""
    killed(environment, f"{__name__}:{take_in.__name__}")
    assert unrecorded(stored) == {}

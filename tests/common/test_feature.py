"""The declarations of features: each path leads to what its field stands for."""

from dataclasses import is_dataclass
from inspect import ismodule
from typing import Any

import pytest
from flask import Blueprint
from werkzeug.utils import import_string

from vault.common.errors.base import refused
from vault.common.feature import Feature, features
from vault.core.documents.sealed import SealedDocument
from vault.core.principal import Scope


def _is_document(found: Any) -> bool:
    return issubclass(found, SealedDocument) and bool(found.noun and found.end_action)


@pytest.mark.parametrize("feature", features(), ids=lambda feature: feature.name)
def test_each_path_leads_to_its_kind_of_thing(feature: Feature) -> None:
    """All that a declaration names is there, and is what its field is for."""
    checks: list[tuple[Any, Any]] = [
        (feature.errors, ismodule),
        (feature.settings, is_dataclass),
        *((path, _is_document) for path in feature.documents),
        *((path, callable) for path in (feature.services, feature.tasks, feature.init_app, feature.status)),
        *(
            (path, lambda found: isinstance(found, Blueprint))
            for path in (*feature.blueprints, *feature.pages)
        ),
        *((panel.values, callable) for panel in feature.panels),
        *((command.function, callable) for command in feature.commands.values()),
        *((section.content, callable) for section in feature.sections),
        *((path, lambda found: isinstance(found.options, tuple)) for path in feature.evidence),
    ]
    for path, is_right in checks:
        assert not path or is_right(import_string(path)), path
    assert not feature.errors or refused(import_string(feature.errors))
    assert {screen.scope for screen in feature.screens} <= set(Scope)


def test_no_two_features_have_a_name_or_a_command_in_common() -> None:
    """Names of features, of their collections and of their commands are unique."""
    for names in (
        [feature.name for feature in features()],
        [name for feature in features() for name in feature.collections],
        [words for feature in features() for words in feature.commands],
    ):
        assert len(names) == len(set(names))

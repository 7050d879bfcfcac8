"""The declaration of a feature, which the tables of every floor read.

A feature is a folder of `vault/features/`: one capability, whole. The list there is the only place that names
it. A declaration is data. It names code by paths of the form `module:name`, or of a module for its errors,
which are loaded when they are needed: a list of commands, or a command of another feature, loads none of it.
Words that are stored for ever (audit actions, scopes, purposes of keys) are the core's, as they outlive a
feature.
"""

import os
from collections.abc import Collection as Names
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pkgutil import resolve_name
from typing import Any, Protocol

from vault.common.errors.base import VaultError, refused


class Task(Protocol):
    """Work of a feature in threads of its own, without a request."""

    def start(self) -> None:
        """Start, once the keys are claimed and the trail has begun.

        Later calls do what is left after an error, or else nothing.
        """

    def close(self) -> None:
        """Stop."""

    @property
    def warnings(self) -> Sequence[str]:
        """The facts that operators should know; `ready` shows them."""


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection: the actions of the service's MongoDB user in it, and whether backups have it."""

    actions: tuple[str, ...]
    is_kept: bool = True
    #: The path of the indexes that it needs before the service starts; others are built when they are used.
    indexes: str = ""


@dataclass(frozen=True, slots=True)
class Screen:
    """A screen of the console that each page leads to."""

    #: The scope that it needs.
    scope: str
    #: The name of its view, with its blueprint.
    endpoint: str
    label: str
    #: The value of the argument `show`.
    show: str | None = None
    #: True if it is about all namespaces.
    is_of_all: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """A part that a feature adds to a page of the console."""

    #: The name of the page's template, such as `secret`.
    page: str
    #: The template of the part.
    template: str
    #: The path of a function of the page's values that returns more of them, if it needs any.
    values: str = ""
    #: True if it is one of the links to other pages, where the page has those.
    is_link: bool = False


@dataclass(frozen=True, slots=True)
class Opener:
    """A source of the master keys in place of `MASTER_KEY`."""

    #: The setting that asks for it.
    setting: str
    #: The path of a function of the settings that returns them with the keys.
    function: str
    #: The path of a function of a principal that returns the attempts that record the opening. If *accepts*,
    #: an operator vouches for the source.
    attempts: str


@dataclass(frozen=True, slots=True)
class Command:
    """A command: the path of its function, and the first sentence of its help text where a list shows it."""

    function: str
    summary: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A part that a feature adds to `audit report`."""

    #: Its name in the report's data, and of its line in the text.
    name: str
    #: The part of the page that has it: `keys` or `trail`.
    place: str
    #: Its template in that page, in the folder `templates` of the feature.
    template: str
    #: The path of a function of `vault.core.parts.Parts` and of the period's times that returns its content:
    #: a dataclass, with the property `line` for the text, which is empty if there is nothing to say.
    content: str


@dataclass(frozen=True, slots=True)
class EventKind:
    """A kind of events: which entries of the trail announce something, and what an event repeats of them."""

    name: str
    #: The action of its entries, one of `vault.core.attempt.Action`.
    action: str
    #: When it is sent, for the documents.
    when: str
    #: The details that an event repeats.
    shown: tuple[str, ...] = ()
    #: The details without which an entry makes no event: it does not say what it is about.
    required: tuple[str, ...] = ()
    #: The details that make two entries announce the same, as a change can be recorded twice; None if each
    #: entry is an event.
    same: tuple[str, ...] | None = None
    #: The detail without which an entry of the action makes no event of the kind.
    mark: str = ""
    #: True if it announces a version of a secret: such events are sent in the order of the versions.
    is_of_version: bool = False
    #: False if the ID of the entry's secret is not that of the secret which the event is about.
    has_secret_id: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """A capability. Every field but the name is optional."""

    name: str
    #: The path of the module of its errors. Callers of the API learn of those that have a `refusal`.
    errors: str = ""
    #: The path of its settings: a dataclass whose fields are made by `vault.common.config.fields.setting`.
    settings: str = ""
    #: Its collections by name, and the paths of its sealed documents, which end with their creator.
    collections: Mapping[str, Collection] = field(default_factory=dict)
    documents: tuple[str, ...] = ()
    #: Paths of functions of `vault.core.parts.Parts`: they yield its services, and the tasks of a worker.
    services: str = ""
    tasks: str = ""
    #: The path of a function of `vault.core.parts.Parts`, a secret's name and its namespace: it starts a
    #: rotation of the secret, and returns whether it did. An offboarding asks for it.
    rotate: str = ""
    #: The path of the module of the fields that it adds to secrets over HTTP. The functions `create`,
    #: `change` and `reply` there return them by name: for a new secret, new metadata, and a description.
    secret_fields: str = ""
    #: The path of the class of its service that checks credentials other than tokens: a
    #: `vault.core.access.authenticator.Credentials`.
    credentials: str = ""
    #: Paths of the blueprints of its operations, and of its pages of the console.
    blueprints: tuple[str, ...] = ()
    pages: tuple[str, ...] = ()
    #: The path of a function of the Flask application and of the settings that adds what is no operation,
    #: after the blueprints of all features.
    init_app: str = ""
    screens: tuple[Screen, ...] = ()
    panels: tuple[Panel, ...] = ()
    #: Its commands by their words, such as `secret share`.
    commands: Mapping[str, Command] = field(default_factory=dict)
    #: The sections that it adds to `audit report`.
    sections: tuple[Section, ...] = ()
    #: The path of a function of `vault.core.parts.Parts` that yields its lines of `status`, each a
    #: `vault.core.status.Line`; none if there is nothing to say.
    status: str = ""
    #: Paths of the kinds of files that `audit verify` reads, see `vault.service.commands.audit.files`.
    evidence: tuple[str, ...] = ()
    #: Where the master keys come from; one feature may say that.
    opener: Opener | None = None
    #: The events that its entries of the trail make.
    events: tuple[EventKind, ...] = ()


@cache
def features() -> tuple[Feature, ...]:
    """Return the features, in their order everywhere. By name: no floor imports one above it."""
    found: tuple[Feature, ...] = resolve_name("vault.features:FEATURES")
    return found


def active(off: Names[str]) -> tuple[Feature, ...]:
    """Return the features without those whose names are in *off*."""
    return tuple(feature for feature in features() if feature.name not in off)


def errors() -> list[type[VaultError]]:
    """Return the errors of all features that callers of the API learn of."""
    modules = resolved(feature.errors for feature in features() if feature.errors)
    return [error for module in modules for error in refused(module)]


def collections() -> dict[str, Collection]:
    """Return the collections of all features by name."""
    return {name: one for feature in features() for name, one in feature.collections.items()}


def documents() -> list[Any]:
    """Return the classes of the sealed documents of all features."""
    return resolved(path for feature in features() for path in feature.documents)


def events() -> list[EventKind]:
    """Return the kinds of events of all features."""
    return [kind for feature in features() for kind in feature.events]


def settings() -> list[Any]:
    """Return the settings of all features: dataclasses."""
    return resolved(feature.settings for feature in features() if feature.settings)


def openers() -> list[Opener]:
    """Return the source of the master keys that a feature brings; none if none does."""
    return [feature.opener for feature in features() if feature.opener]


def commands(group: str) -> Iterator[tuple[str, Command]]:
    """Yield the name of each command of *group*, empty for the top level, with the command.

    Commands read `FEATURES_OFF` in the environment only: a list of commands must not depend on a file.
    """
    off = os.environ.get("FEATURES_OFF", "").replace(" ", "").split(",")
    for feature in active(off):
        for words, command in feature.commands.items():
            parent, _, name = words.rpartition(" ")
            if parent == group:
                yield name, command


def resolved(paths: Iterable[str]) -> list[Any]:
    """Return what *paths* name."""
    return [resolve_name(path) for path in paths]

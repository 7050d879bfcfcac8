"""The attributes that describe a secret: each declared once, for all that shows, stores, finds or takes it.

The ciphertext is not bound to them; what it is bound to is written by hand, in `vault.core.crypto.binding`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from vault.common.labels import MAX_KEY_BYTES, MAX_LABELS, MAX_TEXT_BYTES


class Form(Enum):
    """What a value is."""

    #: One line of text; an empty one is none.
    TEXT = str
    #: Texts by key, as `vault.common.labels` says.
    PAIRS = dict


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """An attribute: of a new secret, of its metadata, of descriptions and of lists."""

    #: Its name in the API, in documents of MongoDB and in descriptions of commands.
    name: str
    form: Form
    example: Any
    #: Its descriptions in the API: of a new secret, a change, a reply and, if lists filter by it, of that.
    create: str
    change: str
    reply: str
    filter: str = ""
    #: The option of commands, without its dashes, and its help texts where it is set, and where it filters.
    option: str
    option_help: str
    filter_help: str = ""
    #: Its key in `custom_metadata` of Vault's API; empty for the pairs with all other keys.
    vault_key: str = ""
    #: Its title in the console, and the hints of its fields for a new secret and for a change.
    label: str
    hint: str
    change_hint: str


ATTRIBUTES = (
    Attribute(
        name="labels",
        form=Form.PAIRS,
        example={"team": "billing", "env": "prod"},
        create=f"Up to {MAX_LABELS} texts by key, for finding secrets. They are not encrypted. Keys "
        f"have up to {MAX_KEY_BYTES} bytes in UTF-8, of visible characters except `=`, in the Unicode normal "
        f"form NFC, and no space at an end; texts are one line of up to {MAX_TEXT_BYTES} bytes.",
        change="The new labels, which replace all others. If omitted, the labels do not change.",
        reply="The secret's labels.",
        filter="Only secrets that have all of these labels.",
        option="label",
        option_help="A label. Can be repeated; replaces all others.",
        filter_help="Only secrets with this label. Can be repeated.",
        label="Labels",
        hint="Optional: team=billing, env=prod. Labels are not encrypted.",
        change_hint="One a line, such as team=billing. They replace all labels, and are not encrypted.",
    ),
)

#: Those that lists filter by.
FILTERS = tuple(attribute for attribute in ATTRIBUTES if attribute.filter)

#: All, as texts about a search name them.
NAMES = " or ".join(attribute.name for attribute in ATTRIBUTES)


@dataclass(frozen=True, slots=True)
class Description:
    """The values of a secret's attributes by name, without empty ones."""

    values: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> "Description":
        """Return the description whose attributes are among those *found* by name."""
        return cls({one.name: found[one.name] for one in ATTRIBUTES if found.get(one.name)})

    @classmethod
    def of_pairs(cls, pairs: Mapping[str, Any]) -> "Description":
        """Return the description that is *pairs* in Vault's API."""
        own = {one.name: pairs[one.vault_key] for one in ATTRIBUTES if one.vault_key in pairs}
        keys = {one.vault_key for one in ATTRIBUTES}
        return cls.of({"labels": {key: text for key, text in pairs.items() if key not in keys}} | own)

    def changed(self, found: Mapping[str, Any]) -> "Description":
        """Return this description with the attributes that are among those *found* by name, and not None."""
        given = {name: value for name, value in found.items() if value is not None}
        return Description.of({**self.values, **given})

    @property
    def shown(self) -> dict[str, Any]:
        """The value of each attribute: null for no text."""
        none: dict[str, Any] = {one.name: {} if one.form is Form.PAIRS else None for one in ATTRIBUTES}
        return none | dict(self.values)

    @property
    def stored(self) -> dict[str, Any]:
        """The value of each attribute as documents of MongoDB have it; None for one that they lack."""
        return {one.name: _stored(self.values.get(one.name)) for one in ATTRIBUTES}

    @property
    def pairs(self) -> dict[str, str]:
        """The description in Vault's API."""
        own = {one.vault_key: self.values[one.name] for one in ATTRIBUTES if one.name in self.values}
        labels = own.pop("", {})
        return {**labels, **own}


def _stored(value: Any) -> Any:
    return [f"{key}={text}" for key, text in sorted(value.items())] if isinstance(value, dict) else value

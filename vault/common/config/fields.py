"""Settings as fields of dataclasses: each is one field with its form, its default and its sentence.

`Settings` has those of the core, and each feature may have a dataclass of its own. The schema, the summary in
the log and the tables of docs/settings.md follow from the fields.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from marshmallow.fields import Field

from vault.common.config.shown import EMPTY, plain

_KEY, _RAW = "setting", "raw"


@dataclass(frozen=True, slots=True)
class Setting:
    """The declaration of a setting. Its name in the environment is the field's, in capitals."""

    #: Its type, default and validation.
    form: Field[Any]
    #: Its meaning, in docs/settings.md.
    sentence: str
    #: The section of docs/settings.md that begins with it, and has the settings after it, too.
    topic: str = ""
    #: True if its value is a secret, and other users may not read a file with it.
    is_secret: bool = False
    #: Returns what the log shows of its value.
    shown: Callable[[Any], Any] = plain
    #: True if it controls access or auditing: the log warns if `.env` sets it.
    is_decisive: bool = False
    #: True if it protects: a variable that is almost its name stops the start.
    is_protective: bool = False
    #: Its value in a trial by `secret-manager dev`, if it has another than the default, and the effect.
    trial: tuple[str, str] | None = None

    def in_log(self, value: Any) -> Any:
        """Return what the log shows of *value*: null if it is unset."""
        if value in EMPTY:
            return None
        return "set" if self.is_secret else self.shown(value)


def setting(form: Field[Any], sentence: str, **more: Any) -> Any:
    """Return a field of a dataclass for a setting; the arguments are those of `Setting`.

    If the log does not show its value, nor does the `repr` of the dataclass.
    """
    one = Setting(form, sentence, **more)
    is_shown = not one.is_secret and one.shown is plain
    return dataclasses.field(default=form.load_default, repr=is_shown, metadata={_KEY: one})


@dataclass(frozen=True, slots=True)
class Raw:
    """Settings that are taken as they are, and of which the log has the names."""

    names: tuple[str, ...]
    #: Those of them whose files other users may not read.
    secret: tuple[str, ...]


def raw(names: tuple[str, ...], *, secret: tuple[str, ...]) -> Any:
    """Return a field of a dataclass for the values of those of *names* that are set; as in `Raw`."""
    return dataclasses.field(default_factory=dict, repr=False, metadata={_RAW: Raw(names, secret)})


def raw_in(kind: type) -> dict[str, Raw]:
    """Return the fields of the dataclass *kind* that were made by `raw`, by name."""
    return {field.name: field.metadata[_RAW] for field in dataclasses.fields(kind) if _RAW in field.metadata}


def declared_in(kind: type) -> dict[str, Setting]:
    """Return the settings that are fields of the dataclass *kind*, by name."""
    own = (field for field in dataclasses.fields(kind) if _KEY in field.metadata)
    return {field.name.upper(): field.metadata[_KEY] for field in own}

"""A summary of the settings in effect, without secrets and without credentials in URLs."""

from dataclasses import fields
from typing import Any

from vault.common.config.fields import declared_in, raw_in
from vault.common.config.settings import Settings
from vault.common.config.shown import plain


def summary(settings: Settings) -> dict[str, Any]:
    """Return *settings* by name, without their secrets, and then what else they know.

    A secret appears as "set", and a connection string as its hosts and database.
    """
    shown = {}
    for part in (settings, *settings.features.values()):
        for name, one in declared_in(type(part)).items():
            shown[name] = one.in_log(getattr(part, name.lower()))
        shown |= {name.upper(): plain(getattr(part, name)) for name in raw_in(type(part))}
    values = {field.name.upper(): getattr(settings, field.name) for field in fields(settings)}
    others = values.keys() - shown.keys() - {"FEATURES"}
    return shown | {name: plain(value) for name, value in values.items() if name in others}

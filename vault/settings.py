"""Settings: the one place that reads the environment."""

import binascii
import os
import re
from base64 import b64decode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from marshmallow import Schema, ValidationError, fields, validate, validates_schema
from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri

from vault.errors import SettingsError

_KEY_SIZE = 32
_NO_KEY = "required; make one with: secret-manager keys generate"
#: MongoDB keeps a TTL in seconds, at most 2**31 - 1.
_MAX_TTL_DAYS = (2**31 - 1) // 86_400
#: What all versions of a secret may have together: they are one document, and MongoDB's limit is 16 MiB.
_MAX_VERSIONS_BYTES = 15 * 1_048_576
_MAX_SECRET_BYTES = 1_048_576
#: Around each value: envelope, key id, number, time.
_VERSION_OVERHEAD = 256
#: PyMongo refuses these beside what `vault.documents.database` sets for good.
_CLASHING_OPTIONS = {"readpreferencetags", "maxstalenessseconds", "fsync"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What an operator decides; the README's table says what each setting means."""

    master_key: bytes = field(repr=False)
    master_key_fallbacks: tuple[bytes, ...] = field(repr=False)
    mongo_uri: str = field(repr=False)
    audit_enabled: bool
    audit_ttl_days: int
    max_secret_bytes: int
    max_versions: int
    delete_recovery_days: int
    bind: str
    web_concurrency: int
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...]
    log_level: str

    @classmethod
    def from_environment(cls) -> "Settings":
        """Return the settings of the environment and of a `.env` file in the working folder.

        Raises:
            SettingsError: At least one is wrong; the message lists every wrong one, by name.
        """
        try:
            dotenv = dotenv_values(Path.cwd() / ".env", interpolate=False)
        except (OSError, ValueError):
            raise SettingsError("wrong settings:\n  .env: not a readable text file.") from None
        return cls.from_mapping(os.environ, dotenv=dotenv)

    @classmethod
    def from_mapping(
        cls, environment: Mapping[str, str], *, dotenv: Mapping[str, str | None] | None = None
    ) -> "Settings":
        """Return the settings that *environment* holds, and below it *dotenv*; an empty value is no value.

        Raises:
            SettingsError: As `from_environment`.
        """
        schema = SettingsSchema()
        values, errors = _read(schema.fields, environment, dotenv or {})
        try:
            loaded: dict[str, Any] = schema.load(values)
        except ValidationError as error:
            errors = dict(error.messages_dict) | errors
        if errors:
            lines = (f"  {name}: {' '.join(errors[name])}" for name in sorted(errors))
            raise SettingsError("\n".join(["wrong settings:", *lines]))
        return cls(**{name.lower(): value for name, value in loaded.items()})


def _read(
    names: Iterable[str], *sources: Mapping[str, str | None]
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return the raw values of *names*, and the errors of those that could not be read.

    A name is looked up in the first of *sources* that has it in either form, as NAME or NAME_FILE.
    """
    values: dict[str, str] = {}
    errors: dict[str, list[str]] = {}
    for name in names:
        pairs = ((source.get(name), source.get(f"{name}_FILE")) for source in sources)
        value, file = next((pair for pair in pairs if any(pair)), (None, None))
        if value and file:
            errors[name] = [f"set {name} or {name}_FILE, not both."]
        elif value:
            values[name] = value
        elif file:
            try:
                values[name] = Path(file).read_text(encoding="utf-8").removesuffix("\n")
            except (OSError, ValueError):
                errors[name] = [f"{name}_FILE does not name a readable text file."]
    return values, errors


def _key(text: str) -> bytes:
    """Return the key that *text* holds: 32 raw characters, or the base64 of 32 bytes."""
    try:
        key = text.encode("ascii") if len(text) == _KEY_SIZE else b64decode(text, validate=True)
    except (UnicodeEncodeError, binascii.Error, ValueError):
        key = b""
    if len(key) != _KEY_SIZE:
        raise ValidationError(f"must be the base64 of {_KEY_SIZE} bytes, or exactly {_KEY_SIZE} characters.")
    return key


class _Key(fields.Field[bytes]):
    def _deserialize(self, value: str, *_: object, **__: object) -> bytes:
        return _key(value)


class _Keys(fields.Field[tuple[bytes, ...]]):
    def _deserialize(self, value: str, *_: object, **__: object) -> tuple[bytes, ...]:
        return tuple(_key(part.strip()) for part in value.split(","))


class _Word(fields.String):
    def _deserialize(self, *args: Any, **kwargs: Any) -> str:
        return super()._deserialize(*args, **kwargs).lower()


class _Networks(fields.Field[tuple[IPv4Network | IPv6Network, ...]]):
    def _deserialize(self, value: str, *_: object, **__: object) -> tuple[IPv4Network | IPv6Network, ...]:
        try:
            return tuple(ip_network(part.strip()) for part in value.split(","))
        except ValueError:
            raise ValidationError("must be networks such as 10.0.0.0/8, separated by commas.") from None


def _mongo_uri(uri: str) -> None:
    try:
        # As a plain URI: an SRV record is looked up by the client when it connects, not at each start.
        parts = parse_uri(uri.replace("mongodb+srv://", "mongodb://", 1))
    except (PyMongoError, ValueError, OSError):
        raise ValidationError(
            "must be mongodb://…, with options that PyMongo knows and files that are there."
        ) from None
    if parts["collection"]:
        raise ValidationError("must not name a collection.")
    if clashing := _CLASHING_OPTIONS & {option.lower() for option in parts["options"]}:
        names = ", ".join(sorted(clashing))
        raise ValidationError(f"must not set {names}: reads go to the primary, writes to the journal.")


def _bind(text: str) -> None:
    match = re.fullmatch(r"(?:\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]+):([0-9]{1,5})", text)
    if not match or not 0 < int(match[1]) < 65_536:
        raise ValidationError("must be ADDRESS:PORT, an IPv6 address in brackets.")


class SettingsSchema(Schema):
    """Each setting's form and default, under its name in the environment."""

    MASTER_KEY = _Key(required=True, error_messages={"required": _NO_KEY})
    MASTER_KEY_FALLBACKS = _Keys(load_default=())
    MONGO_URI = fields.String(load_default="mongodb://localhost:27017", validate=_mongo_uri)
    AUDIT_ENABLED = fields.Boolean(load_default=True)
    AUDIT_TTL_DAYS = fields.Integer(load_default=0, validate=validate.Range(0, _MAX_TTL_DAYS))
    MAX_SECRET_BYTES = fields.Integer(load_default=65_536, validate=validate.Range(1, _MAX_SECRET_BYTES))
    MAX_VERSIONS = fields.Integer(load_default=10, validate=validate.Range(1, 1_000))
    DELETE_RECOVERY_DAYS = fields.Integer(load_default=0, validate=validate.Range(0, 3_650))
    BIND = fields.String(load_default="0.0.0.0:8000", validate=_bind)
    WEB_CONCURRENCY = fields.Integer(load_default=2, validate=validate.Range(1, 256))
    TRUSTED_PROXIES = _Networks(load_default=())
    LOG_LEVEL = _Word(load_default="info", validate=validate.OneOf(["debug", "info", "warning", "error"]))

    @validates_schema
    def _fit_versions(self, data: dict[str, Any], **_: Any) -> None:
        if data["MAX_VERSIONS"] * (data["MAX_SECRET_BYTES"] + _VERSION_OVERHEAD) > _MAX_VERSIONS_BYTES:
            raise ValidationError(
                f"all versions of the largest secret must fit into {_MAX_VERSIONS_BYTES} bytes.",
                "MAX_VERSIONS",
            )

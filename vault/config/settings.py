"""Settings: the one place that reads the environment."""

import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from marshmallow import Schema, ValidationError, fields, missing, validate, validates_schema

from vault.config import otel
from vault.config import validators as forms
from vault.config.validators import weakness
from vault.core.errors import SettingsError
from vault.core.networks import Network


def dotenv_path() -> Path:
    """Return where the file is, or would be."""
    return Path.cwd() / ".env"


def read_dotenv() -> dict[str, str | None]:
    """Return what the file sets; nothing if there is no such file.

    Its settings decide who is let in and which database gets the secrets, so the file must belong to this
    process's user or to root, and must not be writable by everyone.

    Raises:
        SettingsError: It cannot be read, or another user can change it.
    """
    try:
        file = dotenv_path()
        # A folder of this name is a virtual environment.
        if not (file.is_file() or file.is_fifo()):
            return {}
        # First: opening another user's FIFO would wait for that user.
        _require_safe(file.stat())
        with file.open(encoding="utf-8") as stream:
            # The name may lead elsewhere by now.
            _require_safe(os.fstat(stream.fileno()))
            content = stream.read()
    except (OSError, ValueError):
        raise _dotenv_refusal("not a readable text file.") from None
    return dotenv_values(stream=StringIO(content), interpolate=False)


def _require_safe(state: os.stat_result) -> None:
    if state.st_uid not in (0, os.geteuid()):
        raise _dotenv_refusal(
            "belongs to another user. Change its owner (chown), or set the environment instead."
        )
    if stat.S_ISREG(state.st_mode) and state.st_mode & stat.S_IWOTH:
        raise _dotenv_refusal("can be written by everyone. Take that right away: chmod o-w .env")


def _dotenv_refusal(reason: str) -> SettingsError:
    return SettingsError(f"wrong settings:\n  .env: {reason}")


_NO_KEY = "required; make one with: secret-manager keys generate"
#: MongoDB keeps a TTL in seconds, at most 2**31 - 1.
_MAX_TTL_DAYS = (2**31 - 1) // 86_400
#: What all versions of a secret may have together: they are one document, and MongoDB's limit is 16 MiB.
_MAX_VERSIONS_BYTES = 15 * 1_048_576
_MAX_SECRET_BYTES = 1_048_576
#: Around each value: envelope, key id, number, time.
_VERSION_OVERHEAD = 256
#: Settings that decide who is let in, and what is on record.
_DECISIVE = frozenset(
    {
        *("AUDIT_ENABLED", "AUTH_ENABLED", "ALLOWED_NETWORKS", "TRUSTED_PROXIES", "TLS_CLIENT_CA"),
        *("JWT_JWKS_URL", "JWT_PUBLIC_KEY", "JWT_ISSUER", "JWT_AUDIENCE", "FAILED_AUTH_LIMIT"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What an operator decides; the README's table says what each setting means."""

    master_key: bytes = field(repr=False)
    master_key_fallbacks: tuple[bytes, ...] = field(repr=False)
    mongo_uri: str = field(repr=False)
    audit_enabled: bool
    audit_ttl_days: int
    audit_sink: str | None
    audit_sink_required: bool
    max_secret_bytes: int
    max_versions: int
    delete_recovery_days: int
    token_max_days: int
    auth_enabled: bool
    jwt_jwks_url: str | None
    jwt_public_key: str | None
    jwt_issuer: str | None
    jwt_audience: str | None
    rate_limit: str | None
    failed_auth_limit: str
    rate_limit_storage_uri: str = field(repr=False)
    bind: str
    metrics_bind: str | None
    web_concurrency: int
    max_connections: int
    max_connections_per_address: int
    request_timeout_seconds: int
    tls_cert: str | None
    tls_key: str | None
    tls_client_ca: str | None
    trusted_proxies: tuple[Network, ...]
    allowed_networks: tuple[Network, ...]
    log_level: str
    tracing: bool
    #: Names of the settings that `.env` sets.
    dotenv: tuple[str, ...] = ()

    @property
    def is_open(self) -> bool:
        """True if callers from other machines need no credential."""
        return not self.auth_enabled and not forms.is_loopback(self.bind)

    @property
    def decisive_dotenv(self) -> bool:
        """True if `.env` decides who is let in, or what is on record."""
        return not _DECISIVE.isdisjoint(self.dotenv)

    @property
    def weak_keys(self) -> tuple[str, ...]:
        """The weaknesses of master keys, one sentence for each key that is easy to guess."""
        keys = [("MASTER_KEY", self.master_key)]
        keys += [("a key of MASTER_KEY_FALLBACKS", key) for key in self.master_key_fallbacks]
        return tuple(f"{name} {wrong}" for name, key in keys if (wrong := weakness(key)))

    @classmethod
    def from_environment(cls) -> "Settings":
        """Return the settings of the environment and of a `.env` file in the working folder.

        Raises:
            SettingsError: At least one is wrong; the message lists every wrong one, by name.
        """
        return cls.from_mapping(os.environ, dotenv=read_dotenv())

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
        # Those are OpenTelemetry's, not ours: it reads the environment by itself, and nothing else.
        tracing, wrong = otel.read(environment)
        errors |= wrong
        if errors:
            raise _refusal(errors)
        return cls(
            tracing=tracing,
            dotenv=_taken(schema.fields, dotenv or {}, environment),
            **{name.lower(): value for name, value in loaded.items()},
        )


def mongo_uri() -> str:
    """Return the environment's `MONGO_URI`, for what needs MongoDB and no master key.

    Raises:
        SettingsError: It is wrong.
    """
    uri: str = _alone("MONGO_URI")
    return uri


def audit_ttl_days() -> int:
    """Return the environment's `AUDIT_TTL_DAYS`, for the same.

    Raises:
        SettingsError: It is wrong.
    """
    days: int = _alone("AUDIT_TTL_DAYS")
    return days


def _alone(name: str) -> Any:
    """Return the one setting *name*, whatever the others are."""
    values, errors = _read([name], os.environ, read_dotenv())
    if errors:
        raise _refusal(errors)
    try:
        return SettingsSchema().fields[name].deserialize(values.get(name, missing))
    except ValidationError as error:
        raise _refusal({name: map(str, error.messages)}) from None


def _refusal(errors: Mapping[str, Iterable[str]]) -> SettingsError:
    lines = (f"  {name}: {' '.join(errors[name])}" for name in sorted(errors))
    return SettingsError("\n".join(["wrong settings:", *lines]))


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


def _taken(
    names: Iterable[str], source: Mapping[str, str | None], above: Mapping[str, str]
) -> tuple[str, ...]:
    """Return those of *names* that *source* sets, and that nothing *above* it sets."""

    def sets(mapping: Mapping[str, str | None], name: str) -> bool:
        return bool(mapping.get(name) or mapping.get(f"{name}_FILE"))

    return tuple(name for name in names if sets(source, name) and not sets(above, name))


class SettingsSchema(Schema):
    """Each setting's form and default, under its name in the environment."""

    MASTER_KEY = forms.Key(required=True, validate=forms.primary_key, error_messages={"required": _NO_KEY})
    MASTER_KEY_FALLBACKS = forms.Keys(load_default=())
    MONGO_URI = fields.String(load_default="mongodb://localhost:27017", validate=forms.mongo_uri)
    AUDIT_ENABLED = fields.Boolean(load_default=True)
    AUDIT_TTL_DAYS = fields.Integer(load_default=0, validate=validate.Range(0, _MAX_TTL_DAYS))
    AUDIT_SINK = fields.String(load_default=None, validate=forms.audit_sink)
    AUDIT_SINK_REQUIRED = fields.Boolean(load_default=True)
    MAX_SECRET_BYTES = fields.Integer(load_default=65_536, validate=validate.Range(1, _MAX_SECRET_BYTES))
    MAX_VERSIONS = fields.Integer(load_default=10, validate=validate.Range(1, 1_000))
    DELETE_RECOVERY_DAYS = fields.Integer(load_default=0, validate=validate.Range(0, 3_650))
    TOKEN_MAX_DAYS = fields.Integer(load_default=0, validate=validate.Range(0, 3_650))
    AUTH_ENABLED = fields.Boolean(load_default=False)
    JWT_JWKS_URL = fields.String(load_default=None, validate=forms.jwks_url)
    JWT_PUBLIC_KEY = fields.String(load_default=None, validate=forms.public_key)
    JWT_ISSUER = fields.String(load_default=None)
    JWT_AUDIENCE = fields.String(load_default=None)
    RATE_LIMIT = fields.String(load_default=None, validate=forms.rate_limit)
    FAILED_AUTH_LIMIT = fields.String(load_default="30/minute", validate=forms.rate_limit)
    RATE_LIMIT_STORAGE_URI = fields.String(load_default=forms.MEMORY, validate=forms.rate_limit_storage)
    BIND = fields.String(load_default="0.0.0.0:8000", validate=forms.bind)
    METRICS_BIND = fields.String(load_default=None, validate=forms.bind)
    WEB_CONCURRENCY = fields.Integer(load_default=2, validate=validate.Range(1, 256))
    MAX_CONNECTIONS = fields.Integer(load_default=1_000, validate=validate.Range(10, 100_000))
    MAX_CONNECTIONS_PER_ADDRESS = fields.Integer(load_default=100, validate=validate.Range(1, 100_000))
    # With the time for its body, at most what gunicorn leaves a worker that stops, see `vault.server`.
    REQUEST_TIMEOUT_SECONDS = fields.Integer(load_default=10, validate=validate.Range(1, 20))
    TLS_CERT = fields.String(load_default=None)
    TLS_KEY = fields.String(load_default=None)
    TLS_CLIENT_CA = fields.String(load_default=None)
    TRUSTED_PROXIES = forms.Networks(load_default=())
    ALLOWED_NETWORKS = forms.Networks(load_default=())
    LOG_LEVEL = forms.Word(
        load_default="info", validate=validate.OneOf(["debug", "info", "warning", "error"])
    )

    @validates_schema
    def _fit_versions(self, data: dict[str, Any], **_: Any) -> None:
        if data["MAX_VERSIONS"] * (data["MAX_SECRET_BYTES"] + _VERSION_OVERHEAD) > _MAX_VERSIONS_BYTES:
            raise ValidationError(
                f"all versions of the largest secret must fit into {_MAX_VERSIONS_BYTES} bytes.",
                "MAX_VERSIONS",
            )

    @validates_schema
    def _check_sink(self, data: dict[str, Any], **_: Any) -> None:
        if data["AUDIT_SINK"] and not data["AUDIT_ENABLED"]:
            raise ValidationError("needs AUDIT_ENABLED.", "AUDIT_SINK")

    @validates_schema
    def _tell_ports_apart(self, data: dict[str, Any], **_: Any) -> None:
        if forms.port(data["BIND"]) == forms.port(data["METRICS_BIND"] or ""):
            raise ValidationError("must have another port than BIND.", "METRICS_BIND")

    # Also when something else is wrong: all wrong settings are told at once.
    @validates_schema(skip_on_field_errors=False, pass_original=True)
    def _check_jwt(self, _values: object, raw: Mapping[str, str], **_: object) -> None:
        forms.jwt(raw)

    @validates_schema(skip_on_field_errors=False, pass_original=True)
    def _check_tls(self, _values: object, raw: Mapping[str, str], **_: object) -> None:
        forms.tls(raw)

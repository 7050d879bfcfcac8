"""The service's settings, read from the environment and `.env` here only."""

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from marshmallow import Schema, ValidationError, fields, missing, post_load, validate, validates_schema

from vault.config import mistakes, otel, tls_files
from vault.config import validators as forms
from vault.config.dotenv import dotenv_path, read_dotenv
from vault.config.validators import weakness
from vault.core.errors import SettingsError
from vault.core.networks import Network
from vault.custody.settings import SETTINGS as PROVIDER_SETTINGS

#: MongoDB stores a TTL in seconds, at most 2**31 - 1.
_MAX_TTL_DAYS = (2**31 - 1) // 86_400
#: Size limit of all versions of a secret: they are one document, and MongoDB's limit is 16 MiB.
_MAX_VERSIONS_BYTES = 15 * 1_048_576
_MAX_SECRET_BYTES = 1_048_576
#: Bytes added to each value: envelope, key ID, number, time.
_VERSION_OVERHEAD_BYTES = 256
#: Settings that control access or auditing.
_DECISIVE = frozenset(
    {
        *("AUDIT_ENABLED", "AUTH_ENABLED", "ALLOWED_NETWORKS", "TRUSTED_PROXIES", "TLS_CLIENT_CA"),
        *("JWT_JWKS_URL", "JWT_PUBLIC_KEY", "JWT_ISSUER", "JWT_AUDIENCE", "JWT_ROLES_ONLY"),
        *("FAILED_AUTH_LIMIT", "ALLOWED_HOSTS", "CORS_ORIGINS", "AUDIT_WITNESSES"),
        *("CONSOLE_ENABLED", "OIDC_ISSUER", "OIDC_CLIENT_ID"),
    }
)
#: Prefixes and names of settings that protect: a variable that is almost one of them stops the start.
_PROTECTIVE = (
    *("AUDIT_", "AUTH_", "JWT_", "TLS_", "ALLOWED_NETWORKS", "ALLOWED_HOSTS", "TRUSTED_PROXIES"),
    *("RATE_LIMIT", "FAILED_AUTH_LIMIT", "TOKEN_MAX_DAYS", "DELETE_RECOVERY_DAYS"),
    "CONSOLE_REASON_REQUIRED",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The service's settings; `docs/settings.md` explains each of them."""

    #: Empty with a keyring file, until `vault.custodian` has opened it.
    master_key: bytes = field(repr=False)
    master_key_fallbacks: tuple[bytes, ...] = field(repr=False)
    master_keyring_file: str | None
    custody_timeout_seconds: int
    custody_check_seconds: int
    mongo_uri: str = field(repr=False)
    audit_enabled: bool
    audit_ttl_days: int
    audit_sink: str | None
    audit_sink_required: bool
    audit_witnesses: tuple[str, ...] = field(repr=False)
    audit_witness_minutes: int
    audit_witness_token: str | None = field(repr=False)
    audit_witness_ca: str | None
    max_secret_bytes: int
    max_versions: int
    delete_recovery_days: int
    token_max_days: int
    auth_enabled: bool
    jwt_jwks_url: str | None
    jwt_public_key: str | None
    jwt_issuer: str | None
    jwt_audience: str | None
    jwt_roles_only: bool
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
    allowed_hosts: tuple[str, ...]
    cors_origins: tuple[str, ...]
    webhook_networks: tuple[Network, ...]
    rotation_check_seconds: int
    rotation_step_seconds: int
    rotation_commands: tuple[str, ...]
    console_enabled: bool
    public_url: str | None
    console_reason_required: bool
    oidc_issuer: str | None
    oidc_client_id: str | None
    oidc_client_secret: str | None = field(repr=False)
    log_level: str
    tracing: bool
    #: The settings of custody's providers, by name.
    custody: Mapping[str, str] = field(default_factory=dict, repr=False)
    #: The hash of the keyring file that the keys come from; empty without one. And whether they confirm it.
    keyring_file_digest: str = ""
    is_keyring_confirmed: bool = True
    #: Names of the settings that `.env` sets.
    dotenv: tuple[str, ...] = ()
    #: Likely mistakes, as phrases without any value.
    mistakes: tuple[str, ...] = ()

    @property
    def is_open(self) -> bool:
        """True if callers from other machines need no credential."""
        return not self.auth_enabled and not forms.is_loopback(self.bind)

    @property
    def is_open_to_pages(self) -> bool:
        """True if pages of every origin can call the service through their visitors' browsers."""
        return forms.ANY_ORIGIN in self.cors_origins

    @property
    def decisive_dotenv(self) -> bool:
        """True if `.env` controls access or auditing."""
        return not _DECISIVE.isdisjoint(self.dotenv)

    @property
    def weak_keys(self) -> tuple[str, ...]:
        """The weaknesses of the master keys: a phrase for each key that is easy to guess."""
        keys = [("MASTER_KEY", self.master_key)] if self.master_key else []
        keys += [("a key of MASTER_KEY_FALLBACKS", key) for key in self.master_key_fallbacks]
        return tuple(f"{name} {reason}" for name, key in keys if (reason := weakness(key)))

    @classmethod
    def from_environment(cls) -> "Settings":
        """Return the settings in the environment and in a `.env` file in the working folder.

        Raises:
            SettingsError: At least one is invalid; the message lists all invalid ones by name.
        """
        return cls.from_mapping(os.environ, dotenv=read_dotenv())

    @classmethod
    def from_mapping(
        cls, environment: Mapping[str, str], *, dotenv: Mapping[str, str | None] | None = None
    ) -> "Settings":
        """Return the settings in *environment*, or else in *dotenv*; an empty value counts as unset.

        Raises:
            SettingsError: As `from_environment`.
        """
        schema = SettingsSchema()
        values, errors = _read(schema.fields, environment, dotenv or {})
        try:
            loaded: dict[str, Any] = schema.load(values)
        except ValidationError as error:
            errors = dict(error.messages_dict) | errors
        custody, custody_errors = _read(PROVIDER_SETTINGS, environment, dotenv or {})
        errors |= custody_errors
        # Not from `.env`: OpenTelemetry's SDK reads its variables from the environment only.
        tracing, otel_errors = otel.read(environment)
        errors |= otel_errors
        in_dotenv = _effective(schema.fields, dotenv or {}, environment)
        near = _near_misses(values, dotenv or {}, environment)
        errors |= {
            name: [f"has no effect. Did you mean {meant}?"]
            for name, meant in near.items()
            if meant.startswith(_PROTECTIVE)
        }
        if errors:
            raise _settings_error(errors, in_dotenv)
        return cls(
            tracing=tracing,
            custody=custody,
            dotenv=in_dotenv,
            mistakes=(
                *(f"{name} has no effect; did you mean {meant}?" for name, meant in near.items()),
                *_exposed_files(values, dotenv or {}, environment),
            ),
            **{name.lower(): value for name, value in loaded.items()},
        )


def mongo_uri() -> str:
    """Return the setting `MONGO_URI`, for commands that need MongoDB but no master key.

    Raises:
        SettingsError: It is invalid.
    """
    uri: str = single("MONGO_URI")
    return uri


def audit_ttl_days() -> int:
    """Return the setting `AUDIT_TTL_DAYS`, for commands that need no master key.

    Raises:
        SettingsError: It is invalid.
    """
    days: int = single("AUDIT_TTL_DAYS")
    return days


def keyring_path() -> Path:
    """Return the setting `MASTER_KEYRING_FILE`, for commands that need no key.

    Raises:
        SettingsError: It is unset.
    """
    file: str | None = single("MASTER_KEYRING_FILE")
    if file is None:
        raise _settings_error({"MASTER_KEYRING_FILE": ["is required: the path of the keyring file."]})
    return Path(file)


def custody_settings() -> dict[str, str]:
    """Return the settings of custody's providers, by name, for commands that need no key.

    Raises:
        SettingsError: One is invalid.
    """
    dotenv = read_dotenv()
    values, errors = _read(PROVIDER_SETTINGS, os.environ, dotenv)
    if errors:
        raise _settings_error(errors, _effective(PROVIDER_SETTINGS, dotenv, os.environ))
    return values


class SettingsSchema(Schema):
    """The type, default and validation of each setting, by its name in the environment."""

    # Not environs: it silently prefers a file when both forms are set, and strips all white space or none.

    MASTER_KEY = forms.Key(load_default=b"", validate=forms.primary_key)
    MASTER_KEY_FALLBACKS = forms.Keys(load_default=())
    MASTER_KEYRING_FILE = fields.String(load_default=None)
    CUSTODY_TIMEOUT_SECONDS = fields.Integer(load_default=300, validate=validate.Range(1, 86_400))
    CUSTODY_CHECK_SECONDS = fields.Integer(load_default=900, validate=validate.Range(1, 86_400))
    MONGO_URI = fields.String(load_default="mongodb://localhost:27017", validate=forms.mongo_uri)
    AUDIT_ENABLED = fields.Boolean(load_default=True)
    AUDIT_TTL_DAYS = fields.Integer(load_default=0, validate=validate.Range(0, _MAX_TTL_DAYS))
    AUDIT_SINK = fields.String(load_default=None, validate=forms.audit_sink)
    AUDIT_SINK_REQUIRED = fields.Boolean(load_default=True)
    AUDIT_WITNESSES = forms.Witnesses(load_default=())
    AUDIT_WITNESS_MINUTES = fields.Integer(load_default=60, validate=validate.Range(1, 10_080))
    AUDIT_WITNESS_TOKEN = fields.String(load_default=None, validate=forms.credential)
    AUDIT_WITNESS_CA = fields.String(load_default=None, validate=tls_files.authorities)
    MAX_SECRET_BYTES = fields.Integer(load_default=65_536, validate=validate.Range(1, _MAX_SECRET_BYTES))
    MAX_VERSIONS = fields.Integer(load_default=10, validate=validate.Range(1, 1_000))
    DELETE_RECOVERY_DAYS = fields.Integer(load_default=0, validate=validate.Range(0, 3_650))
    TOKEN_MAX_DAYS = fields.Integer(load_default=0, validate=validate.Range(0, 3_650))
    AUTH_ENABLED = fields.Boolean(load_default=False)
    JWT_JWKS_URL = fields.String(load_default=None, validate=forms.jwks_url)
    JWT_PUBLIC_KEY = fields.String(load_default=None, validate=forms.public_key)
    JWT_ISSUER = fields.String(load_default=None)
    JWT_AUDIENCE = fields.String(load_default=None)
    JWT_ROLES_ONLY = fields.Boolean(load_default=False)
    RATE_LIMIT = fields.String(load_default=None, validate=forms.rate_limit)
    FAILED_AUTH_LIMIT = fields.String(load_default="30/minute", validate=forms.rate_limit)
    RATE_LIMIT_STORAGE_URI = fields.String(load_default=forms.MEMORY, validate=forms.rate_limit_storage)
    BIND = fields.String(load_default="0.0.0.0:8000", validate=forms.bind)
    METRICS_BIND = fields.String(load_default=None, validate=forms.bind)
    WEB_CONCURRENCY = fields.Integer(load_default=2, validate=validate.Range(1, 256))
    MAX_CONNECTIONS = fields.Integer(load_default=1_000, validate=validate.Range(10, 100_000))
    MAX_CONNECTIONS_PER_ADDRESS = fields.Integer(load_default=None, validate=validate.Range(1, 100_000))
    # Together with the time for its body, at most gunicorn's graceful timeout, see `vault.server`.
    REQUEST_TIMEOUT_SECONDS = fields.Integer(load_default=10, validate=validate.Range(1, 20))
    TLS_CERT = fields.String(load_default=None)
    TLS_KEY = fields.String(load_default=None)
    TLS_CLIENT_CA = fields.String(load_default=None)
    TRUSTED_PROXIES = forms.Networks(load_default=())
    ALLOWED_NETWORKS = forms.Networks(load_default=())
    ALLOWED_HOSTS = forms.Hosts(load_default=())
    CORS_ORIGINS = forms.Origins(load_default=())
    WEBHOOK_NETWORKS = forms.Networks(load_default=())
    ROTATION_CHECK_SECONDS = fields.Integer(load_default=15, validate=validate.Range(1, 3_600))
    ROTATION_STEP_SECONDS = fields.Integer(load_default=10, validate=validate.Range(1, 30))
    ROTATION_COMMANDS = forms.Programs(load_default=())
    CONSOLE_ENABLED = fields.Boolean(load_default=False)
    PUBLIC_URL = fields.String(load_default=None, validate=forms.own_url)
    CONSOLE_REASON_REQUIRED = fields.Boolean(load_default=False)
    OIDC_ISSUER = fields.String(load_default=None, validate=forms.own_url)
    OIDC_CLIENT_ID = fields.String(load_default=None, validate=forms.credential)
    OIDC_CLIENT_SECRET = fields.String(load_default=None, validate=forms.credential)
    LOG_LEVEL = forms.Word(
        load_default="info", validate=validate.OneOf(["debug", "info", "warning", "error"])
    )

    @validates_schema
    def _fit_versions(self, data: dict[str, Any], **_: Any) -> None:
        if data["MAX_VERSIONS"] * (data["MAX_SECRET_BYTES"] + _VERSION_OVERHEAD_BYTES) > _MAX_VERSIONS_BYTES:
            raise ValidationError(
                f"times (MAX_SECRET_BYTES + {_VERSION_OVERHEAD_BYTES}) must be at most "
                f"{_MAX_VERSIONS_BYTES}. Lower one of them.",
                "MAX_VERSIONS",
            )

    @validates_schema
    def _check_trail(self, data: dict[str, Any], **_: Any) -> None:
        for name in ("AUDIT_SINK", "AUDIT_WITNESSES"):
            if data[name] and not data["AUDIT_ENABLED"]:
                raise ValidationError("requires AUDIT_ENABLED=true.", name)

    @validates_schema
    def _check_witnesses(self, data: dict[str, Any], **_: Any) -> None:
        forms.witnesses(data["AUDIT_WITNESSES"], has_token=bool(data["AUDIT_WITNESS_TOKEN"]))

    @validates_schema
    def _check_ports(self, data: dict[str, Any], **_: Any) -> None:
        if forms.port(data["BIND"]) == forms.port(data["METRICS_BIND"] or ""):
            raise ValidationError("must have a different port from BIND.", "METRICS_BIND")

    # Also if other settings are invalid: the message lists all errors.
    @validates_schema(skip_on_field_errors=False, pass_original=True)
    def _check_keys(self, _values: object, raw: Mapping[str, str], **_: object) -> None:
        forms.keys(raw)

    @validates_schema(skip_on_field_errors=False, pass_original=True)
    def _check_jwt(self, _values: object, raw: Mapping[str, str], **_: object) -> None:
        forms.jwt(raw)

    @validates_schema(skip_on_field_errors=False, pass_original=True)
    def _check_oidc(self, _values: object, raw: Mapping[str, str], **_: object) -> None:
        forms.oidc(raw)

    @validates_schema(skip_on_field_errors=False, pass_original=True)
    def _check_tls(self, _values: object, raw: Mapping[str, str], **_: object) -> None:
        tls_files.check(raw)

    @post_load
    def _share_connections(self, data: dict[str, Any], **_: object) -> dict[str, Any]:
        """Leave half of all connections to other addresses, unless the setting says otherwise."""
        name = "MAX_CONNECTIONS_PER_ADDRESS"
        return data | {name: data[name] or data["MAX_CONNECTIONS"] // 2}


def single(name: str) -> Any:
    """Return the setting *name*; the others may be invalid.

    Raises:
        SettingsError: It is invalid.
    """
    dotenv = read_dotenv()
    in_dotenv = _effective([name], dotenv, os.environ)
    values, errors = _read([name], os.environ, dotenv)
    if errors:
        raise _settings_error(errors, in_dotenv)
    try:
        return SettingsSchema().fields[name].deserialize(values.get(name, missing))
    except ValidationError as error:
        raise _settings_error({name: map(str, error.messages)}, in_dotenv) from None


def _settings_error(errors: Mapping[str, Iterable[str]], in_dotenv: Collection[str] = ()) -> SettingsError:
    sources = dict.fromkeys(in_dotenv, f" It is set in {dotenv_path()}.")
    lines = [f"{name}: {' '.join(errors[name])}{sources.get(name, '')}" for name in sorted(errors)]
    if len(lines) == 1:
        return SettingsError(f"invalid settings: {lines[0]}")
    return SettingsError("\n  ".join(["invalid settings:", *lines]))


def _read(
    names: Iterable[str], *sources: Mapping[str, str | None]
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return the raw values of *names*, and the errors of the unreadable ones.

    The value of a name is in the first of *sources* that has it in either form, NAME or NAME_FILE.
    """
    values: dict[str, str] = {}
    errors: dict[str, list[str]] = {}
    for name in names:
        pairs = ((source.get(name), source.get(f"{name}_FILE")) for source in sources)
        value, file = next((pair for pair in pairs if any(pair)), (None, None))
        if value and file:
            errors[name] = [f"set either {name} or {name}_FILE, not both."]
        elif value:
            values[name] = value
        elif file:
            try:
                values[name] = Path(file).read_text(encoding="utf-8").removesuffix("\n")
            except (OSError, ValueError):
                reason = tls_files.unreadable(Path(file)) or "does not name a readable text file."
                errors[name] = [f"{name}_FILE {reason}"]
            else:
                errors |= {} if values[name] else {name: [f"{name}_FILE names an empty file."]}
    return values, errors


def _near_misses(
    values: Mapping[str, str], dotenv: Mapping[str, str | None], environment: Mapping[str, str]
) -> dict[str, str]:
    """Return the variables that are almost the name of a setting, with that name. *values* are set."""
    variables = dict(dotenv) | dict(environment)
    set_names = [name for name, value in variables.items() if value]
    return dict(mistakes.near_misses(set_names, [*SettingsSchema().fields, *PROVIDER_SETTINGS], values))


def _exposed_files(
    values: Mapping[str, str], dotenv: Mapping[str, str | None], environment: Mapping[str, str]
) -> Iterable[str]:
    """Return a phrase for each file of a key that other users can read."""
    variables = dict(dotenv) | dict(environment)
    names = ("MASTER_KEY", "MASTER_KEY_FALLBACKS", "PKCS11_PIN", "TRANSIT_TOKEN", "AUDIT_WITNESS_TOKEN")
    keys = {f"{name}_FILE": variables.get(f"{name}_FILE") for name in names}
    files = {name: file for name, file in (keys | {"TLS_KEY": values.get("TLS_KEY")}).items() if file}
    return mistakes.exposed_files(files)


def _effective(
    names: Iterable[str], source: Mapping[str, str | None], overrides: Mapping[str, str]
) -> tuple[str, ...]:
    """Return those of *names* that *source* sets and *overrides* does not."""

    def sets(mapping: Mapping[str, str | None], name: str) -> bool:
        return bool(mapping.get(name) or mapping.get(f"{name}_FILE"))

    return tuple(name for name in names if sets(source, name) and not sets(overrides, name))

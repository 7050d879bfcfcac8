"""The service's settings, read from the environment and `.env` here only."""

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pkgutil import resolve_name
from typing import Any, TypeVar

from marshmallow import ValidationError, fields, missing, validate

from vault.common import feature
from vault.common.certificates import Certificates
from vault.common.config import mistakes, otel, shown, sources
from vault.common.config import validators as forms
from vault.common.config.dotenv import read_dotenv
from vault.common.config.doubts import doubts
from vault.common.config.fields import Setting, declared_in, raw_in, setting
from vault.common.config.rules import Rules
from vault.common.config.validators import weakness
from vault.common.networks import Network

#: MongoDB stores a TTL in seconds, at most 2**31 - 1.
_MAX_TTL_DAYS = (2**31 - 1) // 86_400
_MAX_SECRET_BYTES = 1_048_576

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The service's settings; `docs/settings.md` explains each of them."""

    #: Empty if a feature opens it, until `with_keys`.
    master_key: bytes = setting(
        forms.Key(load_default=b"", validate=forms.primary_key),
        "the [master key](master-key.md): base64 of 32 random bytes, or exactly 32 characters; a trivial key "
        "is refused. `secret-manager keys generate` prints a new one",
        topic="Master key and MongoDB",
        is_secret=True,
    )
    master_key_fallbacks: tuple[bytes, ...] = setting(
        forms.Keys(load_default=()),
        "additional keys for decryption, separated by commas: of several, one of 32 characters with a "
        "comma, or a space at an end, as base64",
        is_secret=True,
    )
    mongo_uri: str = setting(
        fields.String(load_default="mongodb://localhost:27017", validate=forms.mongo_uri),
        "[MongoDB](mongodb.md)'s connection string; the database is `vault` unless it names another",
        shown=shown.mongodb,
    )
    audit_enabled: bool = setting(
        fields.Boolean(load_default=True),
        "enable the audit trail; must match [the database](audit.md#switch-auditing-off-or-on)",
        topic="Audit trail",
        is_decisive=True,
        is_protective=True,
    )
    audit_ttl_days: int = setting(
        fields.Integer(load_default=0, validate=validate.Range(0, _MAX_TTL_DAYS)),
        "retention of audit entries in days, up to 24855; 0 keeps them permanently. With access control, "
        "[an administrator](mongodb.md#the-mongodb-user) changes it",
        is_protective=True,
    )
    audit_sink: str | None = setting(
        fields.String(load_default=None, validate=forms.audit_sink),
        "a [second destination](audit.md#a-second-sink) for audit entries: a file or syslog",
        is_protective=True,
    )
    audit_sink_required: bool = setting(
        fields.Boolean(load_default=True),
        "fail a request (503) if its entry does not reach `AUDIT_SINK`",
        is_protective=True,
    )
    max_secret_bytes: int = setting(
        fields.Integer(load_default=65_536, validate=validate.Range(1, _MAX_SECRET_BYTES)),
        "the largest secret in bytes, before base64; up to 1048576",
        topic="Secrets and tokens",
    )
    max_versions: int = setting(
        fields.Integer(load_default=10, validate=validate.Range(1, 1_000)),
        "versions kept of each secret, 1 to 1000; multiplied by `MAX_SECRET_BYTES`, at most 15 MiB",
    )
    delete_recovery_days: int = setting(
        fields.Integer(load_default=0, validate=validate.Range(0, 3_650)),
        "days during which a deleted secret can be restored, up to 3650; 0 removes it immediately",
        is_protective=True,
        trial=("7", "deleted secrets can be restored for 7 days"),
    )
    token_max_days: int = setting(
        fields.Integer(load_default=0, validate=validate.Range(0, 3_650)),
        "longest lifetime of a new token in days, up to 3650; 0 for no limit",
        is_protective=True,
    )
    auth_enabled: bool = setting(
        fields.Boolean(load_default=False),
        "require a credential for every call below `/vault/`; once on, off only by [a "
        "command](access.md#switch-authentication-off)",
        topic="Credentials",
        is_decisive=True,
        is_protective=True,
    )
    rate_limit: str | None = setting(
        fields.String(load_default=None, validate=forms.rate_limit),
        "requests of one principal, or of one address without a credential, such as `100/minute` or "
        "`10/second;1000/hour`",
        topic="Rate limits",
        is_protective=True,
    )
    failed_auth_limit: str = setting(
        fields.String(load_default="30/minute", validate=forms.rate_limit),
        "refused credentials from one address",
        is_decisive=True,
        is_protective=True,
    )
    rate_limit_storage_uri: str = setting(
        fields.String(load_default=forms.MEMORY, validate=forms.rate_limit_storage),
        "storage for both counts: `memory://` in each worker, or a MongoDB connection string for all "
        "together",
        shown=shown.mongodb,
        is_protective=True,
    )
    bind: str = setting(
        fields.String(load_default="0.0.0.0:8000", validate=forms.bind),
        "address and port that `secret-manager serve` listens on",
        topic="Server",
    )
    metrics_bind: str | None = setting(
        fields.String(load_default=None, validate=forms.bind),
        "address and port for the [metrics](metrics.md); the port must differ from `BIND`'s port",
    )
    web_concurrency: int = setting(
        fields.Integer(load_default=2, validate=validate.Range(1, 256)),
        "worker processes of `secret-manager serve`, up to 256",
    )
    max_connections: int = setting(
        fields.Integer(load_default=1_000, validate=validate.Range(10, 100_000)),
        "client [connections](proxy.md#client-connections) for each worker, 10 to 100000",
    )
    max_connections_per_address: int = setting(
        fields.Integer(load_default=None, validate=validate.Range(1, 100_000)),
        "of these, from one address; by default half of `MAX_CONNECTIONS`",
    )
    # Together with the time for its body, at most gunicorn's graceful timeout, see `vault.server`.
    request_timeout_seconds: int = setting(
        fields.Integer(load_default=10, validate=validate.Range(1, 20)),
        "timeout of a request's work in MongoDB, 1 to 20",
    )
    features_off: tuple[str, ...] = setting(
        forms.Features(load_default=()),
        "features that are off, separated by commas: the service has none of their routes, pages, tasks and "
        "commands; what they stored stays",
        is_protective=True,
    )
    tls_cert: str | None = setting(
        fields.String(load_default=None),
        "the certificate file, PEM with its chain; enables TLS in the server",
        topic="TLS",
        is_protective=True,
    )
    tls_key: str | None = setting(
        fields.String(load_default=None),
        "the private key file, without a password",
        is_protective=True,
    )
    tls_client_ca: str | None = setting(
        fields.String(load_default=None),
        "the file of certificate authorities for client certificates; if unset, clients need no certificate",
        is_decisive=True,
        is_protective=True,
    )
    trusted_proxies: tuple[Network, ...] = setting(
        forms.Networks(load_default=()),
        "networks whose `X-Forwarded-For` is trusted, separated by commas",
        topic="Networks and hosts",
        is_decisive=True,
        is_protective=True,
    )
    allowed_networks: tuple[Network, ...] = setting(
        forms.Networks(load_default=()),
        "allowed client networks, separated by commas; other clients get 403, except for `/health/live`, "
        "`/health/ready` and `/v1/sys/health`",
        is_decisive=True,
        is_protective=True,
    )
    allowed_hosts: tuple[str, ...] = setting(
        forms.Hosts(load_default=()),
        "host names and addresses of the service, as in URLs, without ports, separated by commas; requests "
        "for [other hosts](access.md#browsers) get 421. If unset, any host; with `dev.sh`, this machine's "
        "names",
        is_decisive=True,
        is_protective=True,
    )
    cors_origins: tuple[str, ...] = setting(
        forms.Origins(load_default=()),
        "origins of web pages whose scripts [may call the API](access.md#browsers), such as "
        "`https://app.example.com`, separated by commas; `*` for all",
        is_decisive=True,
    )
    log_level: str = setting(
        forms.Word(load_default="info", validate=validate.OneOf(["debug", "info", "warning", "error"])),
        "`debug`, `info`, `warning` or `error`; logs are JSON lines on standard output",
        topic="Log",
    )

    tracing: bool = False
    #: The settings of each feature that has some, by their class.
    features: Mapping[type, Any] = field(default_factory=dict, repr=False)
    #: The hash of the keyring file that the keys come from; empty without one. And whether they confirm it.
    keyring_file_digest: str = ""
    is_keyring_confirmed: bool = True
    #: Names of the settings that `.env` sets.
    dotenv: tuple[str, ...] = ()
    #: Likely mistakes, as phrases without any value.
    mistakes: tuple[str, ...] = ()

    def of(self, kind: type[T]) -> T:
        """Return the settings of a feature, which are a *kind*."""
        found: T = self.features[kind]
        return found

    def with_keys(self) -> "Settings":
        """Return these settings with the master keys, which a feature opens if there is no `MASTER_KEY`.

        Raises:
            VaultError: The feature cannot open them.
        """
        settings = self
        if not self.master_key:
            for opener in feature.openers():
                settings = resolve_name(opener.function)(settings)
        return settings

    @property
    def is_open(self) -> bool:
        """True if callers from other machines need no credential."""
        return not self.auth_enabled and not forms.is_loopback(self.bind)

    @property
    def exposures(self) -> tuple[str, ...]:
        """What others can do because of these settings: sentences."""
        found = []
        if self.is_open:
            found.append(
                f"AUTH_ENABLED is off, and {self.bind} is not a loopback address: "
                "anyone who can reach the service and knows an ID can read that secret"
            )
        elif not self.auth_enabled:
            found.append("AUTH_ENABLED is off: anyone on this machine who knows an ID can read that secret")
        if forms.ANY_ORIGIN in self.cors_origins:
            found.append(
                "CORS_ORIGINS is *: any web page can call the service through its visitors' browsers"
            )
        return tuple(found)

    @property
    def decisive_dotenv(self) -> bool:
        """True if `.env` controls access or auditing."""
        known = declared()
        return any(known[name].is_decisive for name in self.dotenv)

    @property
    def certificates(self) -> Certificates:
        """The certificates in the files of the settings, as they are now."""
        return Certificates.of({"TLS_CERT": self.tls_cert, "TLS_CLIENT_CA": self.tls_client_ca})

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
        known = declared()
        values, errors = sources.read(known, environment, dotenv or {})
        schema = Rules.from_dict({name: one.form for name, one in known.items()})()
        try:
            loaded: dict[str, Any] = schema.load(values)
        except ValidationError as error:
            errors = dict(error.messages_dict) | errors
        raw, raw_errors = sources.read(_raw(), environment, dotenv or {})
        errors |= raw_errors
        # Not from `.env`: OpenTelemetry's SDK reads its variables from the environment only.
        tracing, otel_errors = otel.read(environment)
        errors |= otel_errors
        in_dotenv = sources.effective(known, dotenv or {}, environment)
        near = _near_misses(values, dotenv or {}, environment)
        unsafe = [name for name, meant in near.items() if _is_protective(meant)]
        errors |= {name: [f"has no effect. Did you mean {near.pop(name)}?"] for name in unsafe}
        found = (
            *(f"{name} has no effect; did you mean {meant}?" for name, meant in near.items()),
            *_exposed_files(values, dotenv or {}, environment),
        )
        if errors:
            raise sources.refusal(errors, in_dotenv, found)
        return cls(
            tracing=tracing,
            features={kind: _made(kind, loaded, raw) for kind in feature.settings()},
            dotenv=in_dotenv,
            mistakes=(*found, *doubts(loaded, values)),
            **{name.lower(): loaded[name] for name in declared_in(cls)},
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


def single(name: str) -> Any:
    """Return the setting *name*; the others may be invalid.

    Raises:
        SettingsError: It is invalid.
    """
    value = raw_values([name]).get(name, missing)
    try:
        return declared()[name].form.deserialize(value)
    except ValidationError as error:
        in_dotenv = sources.effective([name], read_dotenv(), os.environ)
        raise sources.refusal({name: map(str, error.messages)}, in_dotenv) from None


def raw_values(names: Collection[str]) -> dict[str, str]:
    """Return the values of those of *names* that are set, as they are; other settings may be invalid.

    Raises:
        SettingsError: One cannot be read.
    """
    dotenv = read_dotenv()
    values, errors = sources.read(names, os.environ, dotenv)
    if errors:
        raise sources.refusal(errors, sources.effective(names, dotenv, os.environ))
    return values


def declared() -> dict[str, Setting]:
    """Return all settings by name: those of the core, then those of the features."""
    kinds = (Settings, *feature.settings())
    return {name: one for kind in kinds for name, one in declared_in(kind).items()}


def _raw() -> list[str]:
    """Return the names of the settings that features take as they are."""
    return [name for kind in feature.settings() for one in raw_in(kind).values() for name in one.names]


def _made(kind: type, loaded: Mapping[str, Any], raw: Mapping[str, str]) -> Any:
    values: dict[str, Any] = {name.lower(): loaded[name] for name in declared_in(kind)}
    for field_name, one in raw_in(kind).items():
        values[field_name] = {name: raw[name] for name in one.names if name in raw}
    return kind(**values)


def _is_protective(name: str) -> bool:
    """Return whether *name* is that of a setting that protects, or of the variable with its file."""
    one = declared().get(name) or declared().get(name.removesuffix("_FILE"))
    return one is not None and one.is_protective


def _near_misses(
    values: Mapping[str, str], dotenv: Mapping[str, str | None], environment: Mapping[str, str]
) -> dict[str, str]:
    """Return the variables that are almost the name of a setting, with that name. *values* are set."""
    variables = dict(dotenv) | dict(environment)
    set_names = [name for name, value in variables.items() if value]
    return dict(mistakes.near_misses(set_names, [*declared(), *_raw()], values))


def _exposed_files(
    values: Mapping[str, str], dotenv: Mapping[str, str | None], environment: Mapping[str, str]
) -> Iterable[str]:
    """Return a phrase for each file of a secret that other users can read."""
    variables = dict(dotenv) | dict(environment)
    secret = [name for name, one in declared().items() if one.is_secret]
    secret += [name for kind in feature.settings() for one in raw_in(kind).values() for name in one.secret]
    keys = {f"{name}_FILE": variables.get(f"{name}_FILE") for name in secret}
    files = {name: file for name, file in (keys | {"TLS_KEY": values.get("TLS_KEY")}).items() if file}
    return mistakes.exposed_files(files)

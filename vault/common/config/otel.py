"""Validation of the `OTEL_…` variables that enable tracing. The OpenTelemetry SDK reads the rest itself."""

import re
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from urllib.parse import urlsplit

_DISABLED = "OTEL_SDK_DISABLED"
_EXPORTER = "OTEL_TRACES_EXPORTER"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
#: Variables that the SDK would refuse only at the first span, with its defaults.
_SIZES = {
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": 512,
    "OTEL_BSP_MAX_QUEUE_SIZE": 2_048,
    "OTEL_BSP_SCHEDULE_DELAY": 5_000,
}
#: The package that requires all other tracing packages.
_PACKAGE = "opentelemetry.exporter.otlp.proto.http"

Errors = dict[str, list[str]]


def read(environment: Mapping[str, str]) -> tuple[bool, Errors]:
    """Return whether *environment* enables tracing, and the errors in it by variable.

    `OTEL_TRACES_EXPORTER=otlp` or an endpoint enables tracing; `OTEL_SDK_DISABLED=true` overrides both.
    """
    values = {name: value.strip() for name, value in environment.items() if name.startswith("OTEL_")}
    if values.get(_DISABLED, "").lower() == "true":
        return False, {}
    exporter = values.get(_EXPORTER)
    enabled_by = next((name for name in (_EXPORTER, *_ENDPOINTS) if values.get(name)), None)
    if enabled_by is None or exporter == "none":
        return False, {}
    if exporter not in (None, "", "otlp"):
        return False, {_EXPORTER: ["must be otlp or none."]}
    errors: Errors = {name: [reason] for name, reason in _errors(values)}
    if not _is_installed():
        errors[enabled_by] = ["enables tracing, which requires the packages in requirements/tracing.txt."]
    return True, errors


def _is_installed() -> bool:
    try:
        return find_spec(_PACKAGE) is not None
    except ModuleNotFoundError:
        return False


def _errors(values: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name in _PROTOCOLS:
        if values.get(name, "http/protobuf") not in ("", "http/protobuf"):
            yield name, "must be http/protobuf."
    for name in _ENDPOINTS:
        if values.get(name) and not _is_endpoint(values[name]):
            yield name, "must be http://… or https://…; put credentials in OTEL_EXPORTER_OTLP_HEADERS."
    sizes = {name: values.get(name) or str(default) for name, default in _SIZES.items()}
    invalid = [name for name, size in sizes.items() if not re.fullmatch("[1-9][0-9]{0,8}", size)]
    yield from ((name, "must be a number above 0.") for name in invalid)
    batch, queue = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "OTEL_BSP_MAX_QUEUE_SIZE"
    if not invalid and int(sizes[batch]) > int(sizes[queue]):
        yield batch, f"must be at most {queue}."


def _is_endpoint(url: str) -> bool:
    """Return whether *url* names a host and contains no credential that an error in the log could quote."""
    try:
        parts = urlsplit(url)
        # An invalid port raises here.
        _ = parts.port
    except ValueError:
        return False
    return (
        parts.scheme in ("http", "https")
        and bool(parts.hostname)
        and "@" not in parts.netloc
        and not parts.query
    )

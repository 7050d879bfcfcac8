"""Whether to trace, as OpenTelemetry's own variables say. All else that they say its SDK reads by itself."""

import re
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from urllib.parse import urlsplit

_DISABLED = "OTEL_SDK_DISABLED"
_EXPORTER = "OTEL_TRACES_EXPORTER"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
#: What the SDK would only refuse once the first span is there, and the defaults that it has.
_SIZES = {
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": 512,
    "OTEL_BSP_MAX_QUEUE_SIZE": 2_048,
    "OTEL_BSP_SCHEDULE_DELAY": 5_000,
}
#: The one of them that is of no use unless all are there.
_PACKAGE = "opentelemetry.exporter.otlp.proto.http"

Errors = dict[str, list[str]]


def read(environment: Mapping[str, str]) -> tuple[bool, Errors]:
    """Return whether *environment* asks for tracing, and what is wrong with it, by the variable's name.

    It asks by `OTEL_TRACES_EXPORTER=otlp`, or by an endpoint; `OTEL_SDK_DISABLED=true` wins over all.
    """
    values = {name: value.strip() for name, value in environment.items() if name.startswith("OTEL_")}
    if values.get(_DISABLED, "").lower() == "true":
        return False, {}
    exporter = values.get(_EXPORTER)
    asking = next((name for name in (_EXPORTER, *_ENDPOINTS) if values.get(name)), None)
    if asking is None or exporter == "none":
        return False, {}
    if exporter not in (None, "", "otlp"):
        return False, {_EXPORTER: ["must be otlp or none."]}
    errors: Errors = {name: [reason] for name, reason in _wrong(values)}
    if not _is_installed():
        errors[asking] = ["asks for tracing, and that needs the packages of requirements/tracing.txt."]
    return True, errors


def _is_installed() -> bool:
    try:
        return find_spec(_PACKAGE) is not None
    except ModuleNotFoundError:
        return False


def _wrong(values: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield what could not work, and why."""
    for name in _PROTOCOLS:
        if values.get(name, "http/protobuf") not in ("", "http/protobuf"):
            yield name, "must be http/protobuf."
    for name in _ENDPOINTS:
        if values.get(name) and not _is_address(values[name]):
            yield name, "must be http://… or https://…; credentials go into OTEL_EXPORTER_OTLP_HEADERS."
    sizes = {name: values.get(name) or str(default) for name, default in _SIZES.items()}
    wrong = [name for name, size in sizes.items() if not re.fullmatch("[1-9][0-9]{0,8}", size)]
    yield from ((name, "must be a number above 0.") for name in wrong)
    batch, queue = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "OTEL_BSP_MAX_QUEUE_SIZE"
    if not wrong and int(sizes[batch]) > int(sizes[queue]):
        yield batch, f"must be at most {queue}."


def _is_address(url: str) -> bool:
    """Return whether *url* names a host, and holds nothing that an error in the log should not quote."""
    try:
        parts = urlsplit(url)
        # Asked for because a wrong one raises.
        _ = parts.port
    except ValueError:
        return False
    return (
        parts.scheme in ("http", "https")
        and bool(parts.hostname)
        and "@" not in parts.netloc
        and not parts.query
    )

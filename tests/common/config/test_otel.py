"""OpenTelemetry variables that turn tracing on, and their refused values."""

import re

import pytest

from vault.common.config.settings import Settings
from vault.common.errors import SettingsError

KEY = {"MASTER_KEY": "exactly-thirty-two-characters-ok"}
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


@pytest.mark.parametrize(
    ("variables", "on"),
    [
        ({}, False),
        ({"OTEL_TRACES_EXPORTER": ""}, False),
        ({"OTEL_METRICS_EXPORTER": "console", "OTEL_SERVICE_NAME": "vault"}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        (ENDPOINT, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://collector/v1/traces"}, True),
        (ENDPOINT | {"OTEL_TRACES_EXPORTER": "none"}, False),
        (ENDPOINT | {"OTEL_SDK_DISABLED": "false"}, True),
        (ENDPOINT | {"OTEL_SDK_DISABLED": "TRUE"}, False),
        # Ignored while tracing is off.
        ({"OTEL_TRACES_EXPORTER": "zipkin", "OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_the_usual_variables_turn_it_on(variables: dict[str, str], on: bool) -> None:
    """An exporter or an endpoint turns tracing on; the switch that turns the SDK off wins."""
    assert Settings.from_mapping(KEY | variables).tracing is on


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({"OTEL_TRACES_EXPORTER": "console"}, "OTEL_TRACES_EXPORTER"),
        ({"OTEL_TRACES_EXPORTER": "otlp,console"}, "OTEL_TRACES_EXPORTER"),
        (ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL"),
        (ENDPOINT | {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://hunter2@collector"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector?key=hunter2"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:hunter2"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "grpc://c"}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
        (ENDPOINT | {"OTEL_BSP_MAX_QUEUE_SIZE": "0"}, "OTEL_BSP_MAX_QUEUE_SIZE"),
        (ENDPOINT | {"OTEL_BSP_SCHEDULE_DELAY": "5s"}, "OTEL_BSP_SCHEDULE_DELAY"),
        (ENDPOINT | {"OTEL_BSP_MAX_QUEUE_SIZE": "511"}, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"),
    ],
)
def test_unusable_values_are_refused(variables: dict[str, str], name: str) -> None:
    """A value that would fail in a worker, or with a secret in the log, stops the start, by name."""
    with pytest.raises(SettingsError) as caught:
        Settings.from_mapping(KEY | variables | {"LOG_LEVEL": "loud"})
    named = re.findall(r"^  ([A-Z_]+): \S", str(caught.value), re.MULTILINE)
    assert named == ["LOG_LEVEL", name]
    assert "hunter2" not in str(caught.value)

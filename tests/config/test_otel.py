"""OpenTelemetry variables that enable tracing."""

import pytest

from vault.config.settings import Settings
from vault.core.errors import SettingsError

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
        # The service has this exporter only.
        (ENDPOINT | {"OTEL_TRACES_EXPORTER": "zipkin"}, False),
    ],
)
def test_the_usual_variables_enable_tracing(variables: dict[str, str], on: bool) -> None:
    """The exporter or an endpoint enables tracing; the switch that disables the SDK wins."""
    assert Settings.from_mapping(KEY | variables).tracing is on


@pytest.mark.parametrize("url", ["http://hunter2@collector", "http://collector?key=hunter2"])
def test_an_endpoint_has_no_credential(url: str) -> None:
    """An endpoint with a credential stops the start: OpenTelemetry would quote it in the log."""
    with pytest.raises(SettingsError, match="OTEL_EXPORTER_OTLP_ENDPOINT: must have no") as caught:
        Settings.from_mapping(KEY | {"OTEL_EXPORTER_OTLP_ENDPOINT": url})
    assert "hunter2" not in str(caught.value)

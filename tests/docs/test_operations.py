"""The pages for operators explain the messages and metrics that they see."""

import ast
import json
import re
from functools import cache
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import running_app, start
from tests.docs.documents import DOCUMENTS, ROOT, table
from tests.support.instruments import described
from tests.system.test_tls import make
from vault.common import errors, feature
from vault.common.errors import VaultError
from vault.common.observability import metrics
from vault.toolkit.http.refusals import REFUSALS

METRICS, MONITORING, RUNBOOK = "docs/metrics.md", "docs/monitoring.md", "docs/runbook.md"
_LEVELS = ("warning", "error", "exception")
#: A reason or a remedy in the message itself.
_EXPLANATION = re.compile("[:;] [a-z]")


@cache
def logged(*methods: str) -> list[str]:
    """Return the package's log messages at the levels *methods*, as written in the code."""
    found = []
    for path in (ROOT / "vault").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name("logger"), attr=attr), args=[ast.Constant(text), *_]
                ):
                    if attr in methods:
                        found.append(str(text))
                case ast.Call(
                    func=ast.Attribute(value=ast.Name("logs"), attr="write"),
                    args=[_, ast.Attribute(attr=attr), ast.JoinedStr([ast.Constant(text), *_]), _],
                ):
                    if attr.lower() in methods:
                        found.append(str(text))
    return found


def fits(message: str, text: str) -> bool:
    """Return whether *message* is the beginning of a log line with the format *text*."""
    return text.startswith(message) or bool(re.fullmatch(re.escape(text).replace("%s", ".+"), message))


def messages() -> list[str]:
    tables = (*table(METRICS, "Log messages"), *table("docs/swarm-secrets.md", "Log and metrics"))
    rows = [row for row in tables if row[1] in ("info", "warning", "error")]
    return [message for row in rows for message in re.findall(r"`(.+?)`", row[0])]


def test_every_log_message_is_explained() -> None:
    """The tables have each warning and error that does not explain itself, and only what is logged."""
    explained = messages()
    assert len(explained) > 10
    for text in logged(*_LEVELS):
        assert _EXPLANATION.search(text) or any(fits(message, text) for message in explained), text
    for message in explained:
        assert any(fits(message, text) for text in logged("info", *_LEVELS)), message


def periodic_tasks(folder: str) -> list[str]:
    """Return the names of the periodic tasks in *folder*, as written in the code."""
    sources = [path.read_text() for path in (ROOT / folder).rglob("*.py")]
    return [name for source in sources for name in re.findall(r'\bPeriodic\(\s*"([\w-]+)"', source)]


def test_every_periodic_task_is_explained() -> None:
    """The messages have the failure of each periodic task, and the architecture has the tasks of the core."""
    of_core = periodic_tasks("vault/core")
    assert of_core
    for name in of_core:
        assert f"├── {name}, every " in DOCUMENTS["docs/architecture.md"]
    for name in periodic_tasks("vault"):
        assert f"{name} failed" in messages()


def test_every_503_is_explained() -> None:
    """The table has each first sentence of a 503."""
    shown = {row[0] for row in table(RUNBOOK, "Symptoms")}
    found = (*vars(errors).values(), *feature.errors())
    classes = [error for error in found if isinstance(error, type)]
    messages = {error.kind: error.message for error in classes if issubclass(error, VaultError)}
    for kind, refused in REFUSALS.items():
        if refused.status == 503:
            sentence = (refused.detail or messages[kind]).partition(".")[0]
            assert f'503 "{sentence}."' in shown
    assert {"500", "429"} <= {one[:3] for one in shown}
    assert "`mongodb`, `keys`, `auth`, `audit`, `clock` or `restore`" in DOCUMENTS[MONITORING]


def test_the_fields_of_a_request_s_line_are_explained(
    client: FlaskClient, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table has exactly the fields of a request's log line, beyond those of every line."""
    with caplog.at_level("INFO", "vault"):
        client.get("/openapi.json")
    line = set(json.loads(capsys.readouterr().out))
    common = {"time", "level", "logger", "pid", "message", "request_id"}
    assert {row[0].strip("`") for row in table(METRICS, "Fields of the log")} == line - common
    for name in common:
        assert f"`{name}`" in DOCUMENTS[METRICS]


def test_the_metrics_are_explained(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each metric has a line of help, and those of the table are metrics with these labels."""
    monkeypatch.setattr(metrics, "FOLDER", str(tmp_path))
    monkeypatch.setattr("vault.core.keys.status._SCRAPE_TIMEOUT_SECONDS", 60)
    pair = make(tmp_path, "server")
    files = {"TLS_CERT": str(pair.certificate), "TLS_KEY": str(pair.key)}
    with running_app({**environment, **files, "METRICS_BIND": "127.0.0.1:9464"}) as app:
        start(app)
        page = app.test_client().get("/metrics", base_url="http://localhost:9464").get_data(as_text=True)
    families = [*text_string_to_metric_families(page), *(family for family, _ in described())]
    assert all(family.documentation.endswith(".") for family in families)
    looked_at = {sample.name: tuple(sample.labels) for family in families for sample in family.samples}
    counted = {
        f"{family.name}_total" if family.type == "counter" else family.name: labels
        for family, labels in described()
    }
    documented = {
        f"secret_manager_{metric.strip('`')}": tuple(re.findall(r"`(\w+)`", labels))
        for metric, labels, _ in table(METRICS, "Metrics")
    }
    assert documented.items() <= {**counted, **looked_at}.items()
    assert set(looked_at) & {"secret_manager_ready", "secret_manager_secrets_stored"}

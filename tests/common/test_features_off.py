"""`FEATURES_OFF`: a service without the routes, pages and commands of a feature."""

import json

import click
import pytest
from flask import Flask
from werkzeug.utils import import_string

from tests.common.config.test_settings import load
from tests.conftest import running_app
from vault.common.feature import Feature, features
from vault.toolkit.cli.lazy_group import LazyGroup
from vault.toolkit.http import hosts
from vault.toolkit.http.prefixes import FORMS
from vault.toolkit.pages import assets

_CONSOLE = {"CONSOLE_ENABLED": "true", "PUBLIC_URL": "https://secrets.example.com"}


def _endpoints(environment: dict[str, str], **settings: str) -> set[str]:
    with running_app({**environment, **_CONSOLE, **settings}) as app:
        return {rule.endpoint for rule in app.url_map.iter_rules()}


def _additions(feature: Feature) -> Flask:
    """Return an application to which only *feature* added what is no operation."""
    app = Flask(__name__)
    app.extensions[FORMS] = {}
    hosts.init_app(app, ())
    if feature.init_app:
        import_string(feature.init_app)(app, load())
    return app


@pytest.mark.parametrize("feature", features(), ids=lambda feature: feature.name)
def test_a_service_without_a_feature_has_all_routes_but_its(
    feature: Feature, environment: dict[str, str]
) -> None:
    """The routes and pages of the feature are gone, and no others; a blueprint can have templates only."""
    own = {import_string(path).name for path in feature.blueprints} | set(_additions(feature).blueprints)
    # No page has a place without the console.
    is_console = feature.name == "console"
    shown = features() if is_console else (feature,)
    pages = [import_string(path) for one in shown for path in one.pages] + [assets.blueprint] * is_console
    # One with templates for pages of others has no routes.
    own |= {f"console.{page.name}" for page in pages if page.deferred_functions}
    everything = _endpoints(environment)
    left = _endpoints(environment, FEATURES_OFF=feature.name)
    own &= {endpoint.rpartition(".")[0] for endpoint in everything}
    assert {endpoint.rpartition(".")[0] for endpoint in everything - left} == own
    assert left < everything or not own


@pytest.mark.parametrize("feature", features(), ids=lambda feature: feature.name)
def test_below_the_prefix_of_a_feature_there_is_nothing(
    feature: Feature, environment: dict[str, str]
) -> None:
    """Requests for an API that is off are refused as those for any unknown path, and it is not documented."""
    forms = _additions(feature).extensions[FORMS]
    with running_app({**environment, "FEATURES_OFF": feature.name}) as app:
        client = app.test_client()
        document = client.get("/openapi.json").text
        for prefix, form in forms.items():
            for method in ("GET", "POST", "LIST"):
                replies = [client.open(path, method=method) for path in (f"{prefix}sys/x", "/other/sys/x")]
                bodies = [reply.get_json(force=True) | {"request_id": ""} for reply in replies]
                headers = [{*reply.headers.keys()} for reply in replies]
                assert (bodies[0], headers[0]) == (bodies[1], headers[1])
                assert replies[0].status_code == 404
            assert prefix not in document
            assert form.description not in json.loads(document)["info"]["description"]


@pytest.mark.parametrize(
    "words", [words for feature in features() for words in feature.commands], ids=lambda words: words
)
def test_its_commands_are_unknown(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A group has no command of a feature that is off."""
    group, _, name = words.rpartition(" ")
    for is_off in (False, True):
        if is_off:
            monkeypatch.setenv("FEATURES_OFF", ", ".join(feature.name for feature in features()))
        commands = LazyGroup("group", functions={}, words=group)
        assert (name in commands.list_commands(click.Context(commands))) == (not is_off)

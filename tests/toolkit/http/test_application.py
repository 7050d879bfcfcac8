"""The application does what Flask does, where it takes a straight way."""

from collections.abc import Sequence
from typing import Any

import pytest
from flask import Blueprint, Flask, Response, current_app, g, redirect, request, session, url_for

from vault.toolkit.http.application import Application, unwrapped

METHODS = ("GET", "HEAD", "POST", "PUT", "OPTIONS")


def replies(kind: type[Flask], path: str, methods: Sequence[str] = ("GET",), **options: Any) -> Any:
    """Return the statuses, headers and bodies of the replies of one application of a *kind*."""
    app = kind(__name__, static_folder=None)
    app.config.update(options.pop("config", {}))
    app.url_map.strict_slashes = app.url_map.merge_slashes = False

    @app.route("/a/<name>", methods=["GET", "POST"])
    def view(name: str) -> str:
        return f"{name} {url_for('view', name='é')} {url_for('view', name='x', _external=True)}"

    @app.route("/moved")
    def moved() -> Any:
        return redirect("/é?a b")

    @app.route("/made")
    def made() -> Response:
        return Response("made", headers={"Location": "/é", "Content-Location": "/é"})

    @app.route("/parts")
    def parts() -> Response:
        return Response(iter(["a", "b"]), headers={"X-Y": "z"})

    @app.route("/status/<int:status>")
    def status(status: int) -> Any:
        return "body", status

    @app.route("/session")
    def sessions() -> str:
        return str(session.get("x"))

    found = [app.test_client().open(path, method=method, **options) for method in methods]
    return [(reply.status, list(reply.headers), reply.data) for reply in found]


PATHS = [
    *("/a/b", "//a/b", "/a/b/", "/a/%C3%A9", "/a/%FF", "/a/b?c=d", "/a//b", "/", "/none", "/moved", "/made"),
    *("/made/", "//made", "/made//", "/status/200/"),
    *("/parts", "/status/200", "/status/201", "/status/204", "/status/304", "/status/404", "/session"),
]


@pytest.mark.parametrize("path", PATHS)
def test_a_reply_is_that_of_flask(path: str) -> None:
    """Routes, URLs, redirects and headers are the same as with Flask itself."""
    # Repeated: a route without variables is found once.
    assert replies(Application, path, METHODS * 2) == replies(Flask, path, METHODS * 2)


@pytest.mark.parametrize(
    "config",
    [{"TRUSTED_HOSTS": ["b.example"]}, {"SERVER_NAME": "b.example"}],
    ids=lambda config: next(iter(config)),
)
@pytest.mark.parametrize("host", ["b.example", "c.example", "c.example:8000"])
def test_settings_of_hosts_have_their_effect(config: dict[str, Any], host: str) -> None:
    """Flask's settings of trusted hosts and the server's name have the same effect as with Flask itself."""
    options = {"config": config, "headers": {"Host": host}}
    assert replies(Application, "/a/b", **options) == replies(Flask, "/a/b", **options)


def test_nothing_can_be_stored_in_a_session() -> None:
    """A view that tried would fail, rather than send a cookie or share it with other requests."""
    app = Application(__name__)
    with app.test_request_context("/"), pytest.raises(RuntimeError):
        session["x"] = "y"


def test_urls_need_a_request() -> None:
    """Outside of requests, URLs need the settings that they need in Flask."""
    with Application(__name__).app_context(), pytest.raises(RuntimeError):
        url_for("view")


def test_a_proxy_is_unwrapped_to_the_object_of_its_request() -> None:
    """A proxy is unwrapped to the object itself, which stays the same in later requests."""
    app = Flask(__name__)
    with app.test_request_context("/first"):
        first, context = unwrapped(request), unwrapped(g)
        assert unwrapped(current_app) is app
        context.value = 1
        assert g.value == 1
    with app.test_request_context("/second"):
        assert unwrapped(request).path == "/second"
        assert first.path == "/first"
        assert unwrapped(g) is not context


def test_the_blueprints_of_a_request_are_those_of_flask() -> None:
    """A request names its blueprint and those around it, and none for an unknown path."""
    outer, inner = Blueprint("outer", __name__), Blueprint("inner", __name__)
    inner.add_url_rule("/inside", "view", lambda: "")
    outer.register_blueprint(inner)
    app = Application(__name__)
    app.register_blueprint(outer)
    with app.test_request_context("/inside"):
        assert request.blueprints == ["outer.inner", "outer"]
    with app.test_request_context("/none"):
        assert request.blueprints == []


def test_the_repr_of_a_request_has_no_url() -> None:
    """A request shows its method only: its URL can have a token."""
    with Application(__name__).test_request_context("/hunter2", method="PUT"):
        assert repr(unwrapped(request)) == "<_Request [PUT]>"

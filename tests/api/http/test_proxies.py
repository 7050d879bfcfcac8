"""The objects behind Flask's proxies."""

from flask import Flask, current_app, g, request

from vault.api.http.proxies import unwrapped


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

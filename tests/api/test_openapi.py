"""The documentation: the page `/docs`, in a browser too, and the document `/openapi.json`.

With `DOCS_PICTURE=docs/api.png` in the environment, the tests retake the README's picture of the page.
"""

import json
import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from openapi_schema_validator import OAS30Validator
from openapi_spec_validator import validate
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from tests.access import make_token
from tests.conftest import running_app
from tests.service import Service
from tests.system import needs

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
CONTENT_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
CREATE = "/vault/secret/create"
FETCH = "/vault/secret/fetch"
UUID = "550e8400-e29b-41d4-a716-446655440000"


class Elements(HTMLParser):
    """The elements of a page, and the text inside scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.inline = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record an element."""
        self.found.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        """Record inline code."""
        if self.cdata_elem in ("script", "style"):
            self.inline += data


@pytest.fixture
def elements(client: FlaskClient) -> Elements:
    """Return the elements of the page."""
    with client.get("/docs") as reply:
        return Elements(reply.text)


@pytest.fixture
def assets(elements: Elements) -> list[str]:
    """Return the addresses of all assets that the page loads."""
    return [
        attributes["href" if tag == "link" else "src"]
        for tag, attributes in elements.found
        if tag in ("link", "script")
    ]


@pytest.fixture
def document(client: FlaskClient) -> dict[str, Any]:
    """Return the OpenAPI document."""
    reply = client.get("/openapi.json")
    assert reply.content_type == "application/json"
    return dict(reply.json)


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield path, method and description of each operation."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def resolve(document: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """Return *part*, or the part that it refers to."""
    while "$ref" in part:
        reference = part["$ref"]
        part = document
        for step in reference.removeprefix("#/").split("/"):
            part = part[step]
    return part


def examples_of_body(document: dict[str, Any], operation: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the example bodies of the page; it fills in the first."""
    content = operation["requestBody"]["content"]["application/json"]
    if "examples" in content:
        return [example["value"] for example in content["examples"].values()]
    if "example" in content:
        return [content["example"]]
    schema = resolve(document, content["schema"])
    return [{name: shape["example"] for name, shape in schema["properties"].items()}]


# --- The page


@pytest.mark.parametrize("path", ["/docs", "/docs/"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_page_answers_directly(client: FlaskClient, path: str, method: str) -> None:
    """The page answers with and without a trailing slash, and neither redirects."""
    reply = client.open(path, method=method)
    assert (reply.status_code, reply.content_type) == (200, "text/html; charset=utf-8")
    assert reply.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
    assert reply.headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize("path", ["/docs", "/docs/"])
def test_page_is_read_only(client: FlaskClient, path: str) -> None:
    """Every method except reading is refused, and the refusal names the allowed ones."""
    reply = client.post(path)
    assert (reply.status_code, reply.content_type) == (405, "application/problem+json")
    assert set(reply.headers["Allow"].split(", ")) == {"GET", "HEAD"}


def test_assets_are_served_by_the_service(client: FlaskClient, assets: list[str]) -> None:
    """The service serves all assets of the page, with the right type and the page's policy."""
    assert len(assets) == 5
    for path in assets:
        with client.get(path) as reply:
            assert reply.status_code == 200, path
            assert reply.mimetype == CONTENT_TYPES[path.rpartition(".")[2]]
            assert reply.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
            assert reply.headers["X-Content-Type-Options"] == "nosniff"
            assert len(reply.data) > 100


def test_assets_are_cached(client: FlaskClient, assets: list[str]) -> None:
    """A browser revalidates a cached asset and does not load it again."""
    for path in assets:
        with client.get(path) as reply:
            assert reply.headers["Cache-Control"] == "no-cache"
            etag = reply.headers["ETag"]
        with client.get(path, headers={"If-None-Match": etag}) as reply:
            assert (reply.status_code, reply.data) == (304, b"")


def test_page_has_no_external_references(elements: Elements) -> None:
    """The page refers to this service only, and needs no inline code or style."""
    for tag, attributes in elements.found:
        for name, value in attributes.items():
            assert name != "style", tag
            assert not name.startswith("on"), tag
            if name in ("href", "src", "action", "data-document"):
                assert re.match("/[a-z]", value), value
    assert elements.inline.strip() == ""


def test_own_assets_have_no_external_references(client: FlaskClient, assets: list[str]) -> None:
    """The page's own script and style refer to no other host."""
    own = [path for path in assets if path.startswith("/docs/page/") and not path.endswith(".svg")]
    assert len(own) == 2
    for path in own:
        with client.get(path) as reply:
            assert "//" not in re.sub(r"^\s*//.*$", "", reply.text, flags=re.MULTILINE)


@pytest.mark.parametrize(
    "path",
    [
        "/docs/ui/",
        "/docs/ui/swagger-ui.js",
        "/docs/ui/oauth2-redirect.html",
        "/docs/ui/VERSION",
        "/docs/page/missing.css",
        "/docs/page/",
        "/docs/missing",
    ],
)
def test_no_other_files_are_served(client: FlaskClient, path: str) -> None:
    """Files that the page does not need return 404, even if Swagger UI's package contains them."""
    reply = client.get(path)
    assert (reply.status_code, reply.content_type) == (404, "application/problem+json")


@pytest.mark.parametrize("folder", ["/docs/ui", "/docs/page"])
@pytest.mark.parametrize(
    "name",
    [
        "../templates/docs.html",
        "..%2ftemplates%2fdocs.html",
        "%2e%2e/templates/docs.html",
        "..%5ctemplates%5cdocs.html",
        "../../../problems.py",
        "../__init__.py",
        "swagger-ui.css/../VERSION",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "docs.js%00.html",
    ],
)
def test_no_path_leaves_the_asset_folders(client: FlaskClient, folder: str, name: str) -> None:
    """No spelling of a path leads out of the folders of assets."""
    reply = client.get(f"{folder}/{name}")
    assert (reply.status_code, reply.content_type) == (404, "application/problem+json")


# --- The document


def test_document_is_valid(document: dict[str, Any]) -> None:
    """The document is valid OpenAPI 3."""
    validate(document)
    assert document["openapi"].startswith("3.")


def test_every_component_is_used(document: dict[str, Any]) -> None:
    """The document has no component that nothing refers to, such as flask-smorest's own errors."""
    text = json.dumps(document)
    for kind, components in document["components"].items():
        if kind != "securitySchemes":
            for name in components:
                assert f'"#/components/{kind}/{name}"' in text


def test_document_lists_every_operation(app: Flask, document: dict[str, Any]) -> None:
    """The document lists exactly the operations of the service."""
    served = {
        (rule.rule, method.lower())
        for rule in app.url_map.iter_rules()
        if rule.endpoint.partition(".")[0] not in ("documentation", "openapi_json", "problem_pages")
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert {(path, method) for path, method, _ in operations(document)} == served


def test_operations_are_explained(document: dict[str, Any]) -> None:
    """Every operation has a one-line summary and a longer description."""
    for path, _, operation in operations(document):
        assert operation["summary"], path
        assert operation["description"], path
        assert operation["tags"], path
    assert all(tag["description"] for tag in document["tags"])


def test_example_bodies_are_accepted(client: FlaskClient, document: dict[str, Any]) -> None:
    """An example body can be sent unchanged; it lacks at most the secret or a credential."""
    for path, method, operation in operations(document):
        if "requestBody" in operation:
            for body in examples_of_body(document, operation):
                reply = client.open(path, method=method.upper(), json=body)
                assert reply.status_code in (200, 401, 404), (path, reply.json)


def test_replies_are_described(document: dict[str, Any]) -> None:
    """Every reply has a description and a schema; a refusal is a problem document with an example."""
    for path, _, operation in operations(document):
        assert list(operation["responses"]) == sorted(operation["responses"])
        assert {"200", "405", "414", "417", "431", "default"} <= operation["responses"].keys(), path
        for status, reference in operation["responses"].items():
            reply = resolve(document, reference)
            assert reply["description"], (path, status)
            assert {"X-Request-ID", "X-Content-Type-Options"} <= reply["headers"].keys(), (path, status)
            if status == "200":
                assert reply["content"]["application/json"]["schema"], (path, status)
                continue
            assert list(reply["content"]) == ["application/problem+json"], (path, status)
            content = reply["content"]["application/problem+json"]
            problem = resolve(document, content["schema"])
            assert content["example"]["status"] == (500 if status == "default" else int(status))
            assert set(problem["required"]) <= set(content["example"]) <= set(problem["properties"])


def test_headers_are_described(environment: dict[str, str], document: dict[str, Any]) -> None:
    """The document has exactly the headers of each reply, those of a rate limit included."""
    responses = document["paths"][FETCH]["post"]["responses"]
    with running_app({**environment, "RATE_LIMIT": "4/hour", "FAILED_AUTH_LIMIT": "9/hour"}) as app:
        client = app.test_client()
        created = client.post(CREATE, json={"secret": "YQ=="}).json
        asked: list[tuple[Any, dict[str, str]]] = [
            *((body, {}) for body in (created, {}, {"secret_id": UUID}, created)),
            (created, {"Authorization": "Bearer x"}),
        ]
        replies = [client.post(FETCH, json=body, headers=headers) for body, headers in asked]
        replies += [client.get(FETCH), client.get("/health/live")]
    assert [reply.status_code for reply in replies] == [200, 422, 404, 429, 401, 405, 200]
    for reply in replies[:-1]:
        described = resolve(document, responses[str(reply.status_code)])["headers"]
        unexpected = {"Cache-Control"} if reply.status_code == 405 else set()
        assert described.keys() == set(reply.headers.keys()) - {"Content-Type", "Content-Length"} - unexpected
    for reference in document["components"]["headers"].values():
        assert reference["description"]


def test_the_document_names_its_server_license_and_contact(document: dict[str, Any]) -> None:
    """The document says where the service is, under which license, and who makes it."""
    assert document["servers"][0]["url"] == "/"
    assert document["info"]["license"]["name"] == "Apache-2.0"
    assert document["info"]["contact"]["name"]


def test_what_is_checked_is_described(document: dict[str, Any]) -> None:
    """Every text in a request has a pattern, a format, or the list of its values."""
    for name, schema in bodies(document).items():
        for field, shape in schema["properties"].items():
            for part in (shape, shape.get("items", {}), shape.get("additionalProperties", {})):
                if isinstance(part, dict) and part.get("type") == "string":
                    assert {"pattern", "format", "enum"} & part.keys(), (name, field)


def test_properties_are_explained(document: dict[str, Any]) -> None:
    """Every property of every schema has a description or an example."""
    for name, schema in document["components"]["schemas"].items():
        assert schema["properties"], name
        for field, shape in schema["properties"].items():
            assert shape.get("description") or shape.get("example"), (name, field)


def parts(shape: Any) -> Iterator[dict[str, Any]]:
    """Yield *shape* and every object in it."""
    if isinstance(shape, dict):
        yield shape
    for below in shape.values() if isinstance(shape, dict) else shape if isinstance(shape, list) else ():
        yield from parts(below)


def bodies(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the schemas of request bodies, by operation."""
    return {
        operation["operationId"]: resolve(
            document, operation["requestBody"]["content"]["application/json"]["schema"]
        )
        for _, _, operation in operations(document)
        if "requestBody" in operation
    }


def test_generators_understand_the_schemas(document: dict[str, Any]) -> None:
    """No schema is an alternative of others, no request has a default, and no enum contains null."""
    for schema in document["components"]["schemas"].values():
        assert schema.keys().isdisjoint({"oneOf", "anyOf"})
        assert schema["type"] == "object"
        for part in parts(schema):
            assert "default" not in part
            assert None not in part.get("enum", [])


def test_optional_fields_of_requests_are_nullable(document: dict[str, Any]) -> None:
    """Exactly the optional fields of a request accept null."""
    for name, schema in bodies(document).items():
        nullable = {field for field, shape in schema["properties"].items() if shape.get("nullable")}
        assert nullable == schema["properties"].keys() - set(schema.get("required", [])), name


def test_document_states_which_fields_go_together(document: dict[str, Any]) -> None:
    """The document refuses what the service refuses: no ID and no name, both, neither role nor scopes."""
    schemas = document["components"]["schemas"]

    def accepts(schema: str, **body: object) -> bool:
        [rule] = schemas[schema]["allOf"]
        return bool(OAS30Validator(rule).is_valid(body))

    for name in ("SecretReference", "VersionReference", "PurgeReference", "NewVersion"):
        assert accepts(name, secret_id="x")
        assert accepts(name, name="x", secret_id=None, version=1)
        assert not accepts(name)
        assert not accepts(name, version=1)
        assert not accepts(name, secret_id=None, name=None)
        assert not accepts(name, secret_id="x", name="x")
    assert accepts("NewToken", role="reader")
    assert accepts("NewToken", role=None, scopes=["secret:fetch"])
    assert accepts("NewToken", role="reader", scopes=[])
    assert not accepts("NewToken", role=None, scopes=[])
    assert not accepts("NewToken", scopes=None)


def test_links_lead_to_operations_that_accept_the_reply(document: dict[str, Any]) -> None:
    """A link sends a whole reply to a later call, which accepts each of its fields."""
    schemas = bodies(document)
    links = [
        (resolve(document, reply["content"]["application/json"]["schema"]), link)
        for _, _, operation in operations(document)
        for reply in [operation["responses"]["200"]]
        for link in reply.get("links", {}).values()
    ]
    assert len(links) == 7
    for reply, link in links:
        assert link["requestBody"] == "$response.body"
        assert reply["properties"].keys() <= schemas[link["operationId"]]["properties"].keys()


# --- In a browser


class Watched:
    """A page of *service* that records everything a finished page must not do."""

    def __init__(self, browser: Browser, service: Service, **context: Any) -> None:
        self.complaints: list[str] = []
        self._origin = service.url + "/"
        self.page: Page = browser.new_page(**context)
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("request", self._on_request)
        self.page.on("requestfailed", lambda request: self.complaints.append(f"failed: {request.url}"))
        self.page.add_init_script(
            "document.addEventListener('securitypolicyviolation', event =>"
            " console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`))"
        )
        self.page.goto(service.url + "/docs")

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning", "assert"):
            self.complaints.append(message.text)

    def _on_request(self, request: Request) -> None:
        if not request.url.startswith((self._origin, "data:")):
            self.complaints.append(f"outside: {request.url}")

    def try_out(self, path: str, body: dict[str, str] | None = None) -> tuple[str, dict[str, Any]]:
        """Send *body*, or the filled-in one, to *path*; return the displayed status and body."""
        operation = self.page.locator(".opblock").filter(has=self.page.locator(f'[data-path="{path}"]'))
        operation.locator(".opblock-summary-control").click()
        operation.get_by_role("button", name="Try it out").click()
        if body is not None:
            operation.locator("textarea").fill(json.dumps(body))
        operation.get_by_role("button", name="Execute").click()
        shown = operation.locator(".live-responses-table tbody .response")
        status = shown.locator(".response-col_status").inner_text()
        return status, json.loads(shown.locator(".highlight-code code").first.inner_text())


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Run a browser for all tests that open a page of their own; playwright's event loop ends with it."""
    chromium = needs("chromium", "chromium-browser", "google-chrome")
    quiet = ("background-networking", "component-update", "sync", "gpu", "quic")
    arguments = ["--no-sandbox", "--no-first-run", *(f"--disable-{what}" for what in quiet)]
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=chromium, args=arguments) as browser,
    ):
        yield browser


@pytest.fixture
def service(shared_service: Service) -> Service:
    """Return the service that these tests share with others."""
    return shared_service


@pytest.fixture
def open_page(browser: Browser, service: Service) -> Callable[..., Watched]:
    """Return a function that opens the service's page."""
    return partial(Watched, browser, service)


@pytest.mark.parametrize(
    ("width", "height", "color_scheme"), [(1280, 900, "light"), (390, 844, "dark")], ids=["desktop", "phone"]
)
def test_api_can_be_tried_in_a_browser(
    open_page: Callable[..., Watched], service: Service, width: int, height: int, color_scheme: str
) -> None:
    """The page can take a secret through its life without an error in the browser."""
    watched = open_page(viewport={"width": width, "height": height}, color_scheme=color_scheme)
    secret = "Zm9yIHRoZSBicm93c2VyIMO8"
    status, created = watched.try_out(CREATE, {"secret": secret})
    assert status == "200"
    assert service.fetch(created["secret_id"]).body == {"secret": secret}
    # The ID of the reply is filled in already.
    assert watched.try_out(FETCH) == ("200", {"secret": secret})
    textarea = watched.page.locator("textarea").last
    assert json.loads(textarea.input_value()) == {"secret_id": created["secret_id"]}
    status, updated = watched.try_out("/vault/secret/update")
    assert (status, updated) == ("200", {**created, "version": 2})
    status, described = watched.try_out("/vault/secret/describe")
    assert (status, described["version"]) == ("200", 2)
    status, deleted = watched.try_out("/vault/secret/delete")
    assert (status, deleted) == ("200", {**created, "restorable_until": None})

    root = watched.page.locator("html")
    assert root.evaluate("element => element.scrollWidth") <= width
    assert ("dark-mode" in (root.get_attribute("class") or "")) == (color_scheme == "dark")
    assert watched.complaints == []


def test_create_and_fetch_are_on_the_first_screen(open_page: Callable[..., Watched]) -> None:
    """The page shows create and fetch without scrolling."""
    watched = open_page(viewport={"width": 1000, "height": 860}, device_scale_factor=1.6)
    for path in (CREATE, FETCH):
        expect(watched.page.locator(f'[data-path="{path}"]')).to_be_in_viewport(ratio=1)
    if picture := os.environ.get("DOCS_PICTURE"):
        watched.page.screenshot(path=picture)
    assert watched.complaints == []


def test_refusal_is_readable_in_a_browser(open_page: Callable[..., Watched]) -> None:
    """A refusal is displayed with its reason and is the only error in the browser."""
    watched = open_page()
    status, problem = watched.try_out(CREATE, {"secret": "not base64"})
    assert (status, problem["status"]) == ("400", 400)
    assert problem["detail"].startswith("invalid base64")
    expect(watched.page.locator(".live-responses-table")).to_contain_text("application/problem+json")
    assert watched.complaints == [
        "Failed to load resource: the server responded with a status of 400 (BAD REQUEST)"
    ]


@pytest.fixture
def asking(environment: dict[str, str], tmp_path: Path) -> Iterator[tuple[Service, str]]:
    """Run a service that requires a credential, and return it with a valid token."""
    settings = {**environment, "AUTH_ENABLED": "true"}
    with running_app(settings) as app:
        token = make_token(app, "ci", role="writer")
    with Service(settings, folder=tmp_path) as service:
        yield service, token


def test_a_browser_can_be_authorized(browser: Browser, asking: tuple[Service, str]) -> None:
    """*Authorize* accepts a token: operations are refused before and answered after; nothing stores it."""
    service, token = asking
    watched = Watched(browser, service)
    page = watched.page
    assert watched.try_out(FETCH, {"secret_id": "550e8400-e29b-41d4-a716-446655440000"})[0] == "401"
    page.locator(".auth-wrapper .authorize").first.click()
    page.locator(".modal-ux input").fill(token)
    page.locator(".modal-ux .auth-btn-wrapper .authorize").click()
    page.locator(".modal-ux .btn-done").click()
    status, created = watched.try_out(CREATE, {"secret": "YQ=="})
    assert status == "200"
    assert len(created["secret_id"]) == 36
    assert page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie])") == '[{},{},""]'
    assert [text for text in watched.complaints if "401" not in text] == []

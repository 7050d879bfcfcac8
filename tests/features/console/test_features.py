"""Pages, screens, panels and static files that features bring to the console."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from tests.conftest import running_app
from tests.console.person import Person, links
from tests.features.console.invented import FEATURE
from tests.support.access import make_token
from tests.support.console import create
from vault.common import feature
from vault.common.feature import features, resolved
from vault.toolkit.pages import assets


@pytest.fixture(scope="module")
def app(console_environment: dict[str, str]) -> Iterator[Flask]:
    """Run a service with an invented feature after all others."""
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(feature, "features", lambda: (*features(), FEATURE))
        with running_app(console_environment) as app:
            patches.undo()
            yield app


@pytest.fixture(scope="module")
def admin(app: Flask) -> Person:
    """Return a person with all scopes, signed in."""
    return signed_in(app, "admin")


@pytest.fixture(scope="module")
def reader(app: Flask) -> Person:
    """Return a person who may only read secrets, signed in."""
    return signed_in(app, "reader", "reader")


def signed_in(app: Flask, name: str, role: str = "admin") -> Person:
    """Return a person with this *name* and *role*, signed in."""
    person = Person(app, make_token(app, f"invented-{name}", role=role))
    person.sign_in()
    return person


def test_a_feature_brings_a_page(app: Flask, admin: Person, reader: Person) -> None:
    """Its page is below the console's address, and as restricted and refused as all pages are."""
    reply = admin.get("invented")
    assert (reply.status_code, "water the plants" in reply.text) == (200, True)
    assert reply.headers["Cache-Control"] == "no-store"
    assert "Content-Security-Policy" in reply.headers
    assert Person(app).get("invented").headers["Location"] == "/console/sign-in?next=/console/invented"
    refused = reader.get("invented")
    assert (refused.status_code, refused.mimetype) == (403, "text/html")


def test_a_feature_brings_a_screen(admin: Person, reader: Person) -> None:
    """Pages lead those who have its scope to its screen, after all others."""
    listed = [link for link in links(admin.get("invented")) if link.startswith("/console/")]
    navigation = listed[: listed.index("/console/sign-out")]
    assert navigation[-2:] == ["/console/invented", "/console/"]
    assert '<a href="/console/invented" aria-current="page">Invented</a>' in admin.get("invented").text
    assert ">Invented</a>" not in reader.get("deleted").text


def test_a_feature_brings_panels(app: Flask, admin: Person) -> None:
    """Its parts are on the pages of others, with their values and its own, as text."""
    create(app, "billing/db")
    page = admin.get("secret", name="billing/db").text
    assert "A note about &lt;billing/db&gt; for invented-admin." in page
    assert "Another needs JavaScript." in page
    assert page.index("Versions") < page.index("A note") < page.index("New version")
    assert "Notes of billing/" in admin.get(folder="billing/").text
    assert "A note" not in admin.get("deleted").text


def test_a_feature_brings_static_files(app: Flask, admin: Person) -> None:
    """Its files are the ends of the console's script and stylesheet."""
    static = Path(__file__).parent / "invented/static"
    [style, script] = [link for link in links(admin.get("invented")) if "/assets/" in link]
    for address, name in ((style, "invented.css"), (script, "invented.js")):
        assert app.test_client().get(address).text.endswith((static / name).read_text())


def test_a_console_has_what_the_features_of_its_application_bring(
    app: Flask, admin: Person, console_environment: dict[str, str]
) -> None:
    """Another application of the process has nothing of a feature that it is not given."""
    create(app, "billing/other")
    with running_app(console_environment) as other:
        person = signed_in(other, "other")
        assert person.get("invented").status_code == 404
        page = person.get("secret", name="billing/other")
        assert "A note" not in page.text
        assert "/console/invented" not in links(page)
        files = [[link for link in links(found) if "/assets/" in link] for found in (page, admin.get())]
        assert not set(files[0]) & set(files[1])


def test_no_file_of_a_page_hides_another() -> None:
    """The names of templates and static files are unique, and each panel is a template for one."""
    pages = [assets.blueprint, *resolved(path for one in features() for path in one.pages)]
    folders = {Path(page.root_path) for page in pages}
    for kind in ("templates/console", "static"):
        names = Counter(path.name for folder in folders for path in (folder / kind).glob("*"))
        assert [name for name, count in names.items() if count > 1] == []
    templates = {path.name for folder in folders for path in (folder / "templates/console").glob("*")}
    panels = [panel for one in features() for panel in one.panels]
    used = {f"{panel.page}.html" for panel in panels} | {Path(panel.template).name for panel in panels}
    assert used <= templates
    files = [path for folder in folders for path in (folder / "templates/console").glob("*")]
    with_panels = {path.stem for path in files if "{% include panel %}" in path.read_text()}
    assert {panel.page for panel in panels} <= with_panels

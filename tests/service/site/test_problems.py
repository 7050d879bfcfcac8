"""The pages about the kinds of problems."""

from collections.abc import Iterator
from html.parser import HTMLParser

from flask.testing import FlaskClient

from tests.support.problems import fields_of
from vault.common.errors import NotReadyError
from vault.toolkit.http.errors import PAGES, problem_body, uri_of
from vault.toolkit.http.refusals import REFUSALS, code_of

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'none'"
)


class Tags(HTMLParser):
    """The tags of a page, with the addresses that they refer to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record a tag."""
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("href", "src")]


def paths() -> Iterator[str]:
    for code in REFUSALS:
        yield uri_of(code)


def test_every_kind_has_a_page_of_its_own(client: FlaskClient) -> None:
    """The page at a problem's `type` has its title, its code and one paragraph, in every kind."""
    for code, kind in REFUSALS.items():
        reply = client.get(uri_of(code))
        assert (reply.status_code, reply.content_type) == (200, "text/html; charset=utf-8")
        assert f"<h1>{kind.title}</h1>" in reply.text.replace("&#39;", "'")
        assert f"<code>{code}</code>" in reply.text
    assert len({kind.page for kind in REFUSALS.values()}) == len(REFUSALS)


def test_both_spellings_of_a_page_are_answered(client: FlaskClient) -> None:
    """The index and the pages answer with and without a trailing slash, without a redirect."""
    for slash in ["", "/"]:
        assert client.get(f"/problems{slash}").status_code == 200, slash
        assert client.get(f"/problems/name-taken{slash}").status_code == 200, slash


def test_the_index_leads_to_every_page(client: FlaskClient) -> None:
    """The list of problems has a link to each of them, and no other."""
    addresses = Tags(client.get(PAGES).text).addresses
    assert {address for address in addresses if address.startswith(PAGES)} == set(paths())


def test_pages_need_no_script(client: FlaskClient) -> None:
    """A page consists of text and a style of this service, under a policy that allows nothing else."""
    for name in ["", "name-taken"]:
        reply = client.get(PAGES + name)
        assert reply.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY, name
        assert reply.headers["Referrer-Policy"] == "no-referrer", name
        page = Tags(reply.text)
        assert {"script", "style", "form", "iframe"}.isdisjoint(page.tags), name
        for address in page.addresses:
            with client.get(address) as found:
                assert found.status_code == 200, address


def test_an_unknown_page_is_a_problem(client: FlaskClient) -> None:
    """An unknown page returns 404 as a problem document."""
    for name in ["name_taken", "NAME-TAKEN", "vault", "fixed", "x", "name-taken/x", "%00"]:
        reply = client.get(PAGES + name)
        assert (reply.status_code, reply.content_type) == (404, "application/problem+json"), name
        assert reply.json["code"] == "not_found", name


def test_a_problem_is_a_dictionary_for_batches() -> None:
    """The problem of an error can be part of another reply; it names the kind and the errors."""
    error = NotReadyError({"keys": ["missing"], "audit": ["closed", "broken"]})
    body = problem_body(error)
    assert body["type"] == uri_of(code_of(error)) == "/problems/not-ready"
    assert (body["status"], body["code"], body["request_id"]) == (503, "not_ready", "")
    assert fields_of(body) == ["keys", "audit"]
    assert len(body["errors"]) == 3

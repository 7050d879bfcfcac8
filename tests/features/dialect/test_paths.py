"""Paths of KV version 2 at which there is nothing."""

from tests.support.kv import Ask


def test_what_is_not_there_is_said_in_vaults_words(ask: Ask) -> None:
    """Paths that are not operations get the replies of the real secrets engine, which its clients show."""
    for method, path, command in [("GET", "foo", "get"), ("LIST", "", "list"), ("DELETE", "foo", "delete")]:
        reply = ask(method, path)
        assert (reply.status_code, f"bao kv {command}" in reply.json["warnings"][0]) == (404, True)
    assert "bao kv put" in ask("POST", "foo", {}).json["warnings"][0]
    assert "root of a K/V v2 mount" in ask("GET", "data").json["warnings"][0]
    assert "root of a K/V v2 mount" in ask("GET", "metadata").json["warnings"][0]
    assert ask("GET", "data/").json == {"errors": []}
    assert ask("DELETE", "data/").status_code == 204
    assert ask("POST", "data/", {"data": {}}).status_code == 400
    for method, path in [
        ("GET", "delete/a"),
        ("LIST", "data/a"),
        ("GET", "data/a?list=true"),
        ("DELETE", "config"),
    ]:
        reply = ask(method, path)
        assert (reply.status_code, "unsupported operation" in reply.json["errors"][0]) == (405, True)
    assert ask("HEAD", "data/a").status_code == 405
    assert ask("GET", "config").json["data"]["max_versions"] == 10

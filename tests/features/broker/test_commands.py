"""The command `secret rules`, and what `secret describe` says of rules."""

import json
from pathlib import Path

import pytest

from tests.features.broker.conftest import NAME, RULE
from tests.support.people import Person

BASIC = {**{name: RULE[name] for name in ("hosts", "methods", "paths")}, "basic": "deploy"}


def test_rules_are_shown_set_and_cleared(person: Person, tmp_path: Path) -> None:
    """`secret rules` shows the rules; `--set` replaces them by those of a file, `--clear` removes them."""
    person.does("secret", "set", NAME, "-q", send=b"sk_test_4eC39HqLyjWD")
    assert person.sees("secret", "rules", NAME) == [{"use_rules": []}]
    file = tmp_path / "rules.json"
    file.write_text(json.dumps([RULE, BASIC]))
    shown = person.does("secret", "rules", NAME, "--set", file)
    assert "api.stripe.com" in shown
    assert "Basic of deploy:{}" in shown
    assert person.sees("secret", "rules", NAME) == [{"use_rules": [RULE, BASIC]}]
    assert "api.stripe.com" in person.does("secret", "describe", NAME)
    person.does("secret", "rules", NAME, "--set", "-", send=json.dumps([RULE]).encode())
    assert person.sees("secret", "rules", NAME) == [{"use_rules": [RULE]}]
    person.does("secret", "rules", NAME, "--clear")
    assert person.sees("secret", "rules", NAME) == [{"use_rules": []}]
    assert "used at" not in person.does("secret", "describe", NAME)


def test_wrong_rules_change_nothing(person: Person) -> None:
    """A file that is no JSON or too large, a rule that is refused, and both options are errors."""
    person.does("secret", "set", NAME, "-q", send=b"sk_test_4eC39HqLyjWD")
    person.fails_to("secret", "rules", NAME, "--set", "-", code=1, send=b"{")
    person.fails_to("secret", "rules", NAME, "--set", "-", code=1, send=b" " * 70_000)
    person.fails_to("secret", "rules", NAME, "--set", "-", code=1, send=b'[{"hosts": ["*"]}]')
    assert person.try_to("secret", "rules", NAME, "--set", "-", "--clear", send=b"[]").exit_code == 2
    assert person.sees("secret", "rules", NAME) == [{"use_rules": []}]


def test_a_reply_without_rules_is_none(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that replies with something else is named as such."""
    monkeypatch.setattr("vault.toolkit.client.secrets.Secrets.describe", lambda *_: {"use_rules": 1})
    person.fails_to("secret", "rules", NAME, code=5)

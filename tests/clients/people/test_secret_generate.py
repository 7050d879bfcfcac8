"""The command `secret generate`, and synonyms of commands."""

import re

import pytest

from tests.support.people import Person
from vault.cli import commands
from vault.clients.people.secret import secret


@pytest.mark.parametrize(
    ("options", "form"),
    [
        ((), "[A-Za-z0-9]{32}"),
        (("--length", 1_024), "[A-Za-z0-9]{1024}"),
        (("--alphabet", "hex", "--length", 64), "[0-9a-f]{64}"),
        (("--alphabet", "digits", "--length", 8), "[0-9]{8}"),
        (("--alphabet", "symbols"), "[!-~]{32}"),
    ],
)
def test_a_value_is_generated_without_a_service(
    person: Person, options: tuple[object, ...], form: str
) -> None:
    """`generate` prints a new value each time, with the given length and alphabet, and calls no service."""
    values = {person.does("secret", "generate", *options) for _ in range(3)}
    assert len(values) == 3
    assert all(re.fullmatch(form, value) for value in values)
    [found] = person.sees("secret", "generate", *options)
    assert re.fullmatch(form, found["value"])
    assert person.calls == []


def test_a_generated_value_is_a_line_on_a_terminal_only(person: Person) -> None:
    """The value can be piped into `set`: only on a terminal does a newline follow; weak ones are refused."""
    person.sit_at_terminal("<stdout>")
    assert re.fullmatch("[A-Za-z0-9]{32}\n", person.does("secret", "generate"))
    for options in (("--length", 7), ("--length", 1_025), ("--alphabet", "words")):
        person.fails_to("secret", "generate", *options, code=2)


@pytest.mark.parametrize("word", sorted({*secret._functions, *secret._synonyms} - {*commands._functions}))
def test_a_command_for_secrets_names_its_group(person: Person, word: str) -> None:
    """Without `secret`, a command for secrets exits with 2 and names the whole command, and no value."""
    command = secret._synonyms.get(word, word)
    line = person.fails_to(word, "app/db", "hunter2", code=2)
    assert f" secret {command}`. Hint: " in line
    assert "hunter2" not in line
    assert person.calls == []


@pytest.mark.parametrize(
    ("word", "command"), [("create", "set"), ("put", "set"), ("show", "get"), ("rm", "delete")]
)
def test_a_word_of_other_programs_is_told_the_right_one(person: Person, word: str, command: str) -> None:
    """A synonym exits with 2 and names the command, whatever follows it, and repeats no value."""
    for arguments in ([], ["app/db", "hunter2"], ["--help"]):
        line = person.fails_to("secret", word, *arguments, code=2)
        assert f" secret {command}`. Hint: " in line
        assert "hunter2" not in line
    assert person.calls == []

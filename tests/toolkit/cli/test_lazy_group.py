"""Groups of commands that load a command when it is asked for."""

import click
import pytest
from click.testing import CliRunner

from vault.cli import commands
from vault.common.errors import ExtraMissingError
from vault.toolkit.cli.lazy_group import LazyGroup


@pytest.fixture
def group() -> LazyGroup:
    """Return a group with a command whose packages are not installed, and one that is hidden."""
    functions = {
        "missing": "no_such_package.commands:missing",
        "completion": "vault.toolkit.cli.completion:completion",
    }
    group = LazyGroup("tool", functions=functions, summaries={"missing": "Need a package."})
    group.add_command(click.Command("hidden", hidden=True))
    return group


def completed(group: click.Group, incomplete: str) -> dict[str, str | None]:
    found = group.shell_complete(click.Context(group, info_name="tool"), incomplete)
    return {item.value: item.help for item in found}


def test_a_command_without_its_packages_is_listed_and_refused(group: LazyGroup) -> None:
    """It is in the help and in completions. Its use is refused, except while a shell completes words."""
    context = click.Context(group, info_name="tool")
    with pytest.raises(ExtraMissingError, match=r"`tool missing` needs .* such as no_such_package; install"):
        group.get_command(context, "missing")
    with context:
        assert "missing     Need a package." in group.get_help(context)
    assert group.get_command(click.Context(group, resilient_parsing=True), "missing") is None
    assert completed(group, "m") == {"missing": "Need a package."}


def test_visible_commands_and_options_are_completed(group: LazyGroup) -> None:
    """Completions are the visible commands and options that begin with the text."""
    assert completed(group, "") == {
        "completion": "Print a script that completes commands in...",
        "missing": "Need a package.",
    }
    assert completed(group, "--h") == {"--help": "Show this message and exit."}


def test_a_similar_command_is_suggested_before_any_is_loaded() -> None:
    """A misspelled command names the similar ones, although none is loaded."""
    done = CliRunner().invoke(commands, ["tokns"])
    assert "did you mean `tokens`? " in done.stderr


def test_a_command_without_packages_and_summary_is_not_completed() -> None:
    """A shell that completes words gets the others."""
    group = LazyGroup("tool", functions={"missing": "no_such_package.commands:missing"})
    group.add_command(click.Command("made"))
    found = group.shell_complete(click.Context(group, resilient_parsing=True), "m")
    assert [item.value for item in found] == ["made"]

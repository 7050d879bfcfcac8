"""The sources of settings: variables, and files that variables name; and the error that names wrong ones."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from vault.common.config.dotenv import dotenv_path
from vault.common.config.tls_files import unreadable
from vault.common.errors import SettingsError

# Not environs: it silently prefers a file when both forms are set, and strips all white space or none.


def read(
    names: Iterable[str], *sources: Mapping[str, str | None]
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return the raw values of *names*, and the errors of the unreadable ones.

    The value of a name is in the first of *sources* that has it in either form, NAME or NAME_FILE. One that
    cannot be read is empty: it is not missing, for the rules about several settings.
    """
    values: dict[str, str] = {}
    errors: dict[str, list[str]] = {}
    for name in names:
        pairs = ((source.get(name), source.get(f"{name}_FILE")) for source in sources)
        value, file = next((pair for pair in pairs if any(pair)), (None, None))
        if value and file:
            values[name] = value
            errors[name] = [f"set either {name} or {name}_FILE, not both."]
        elif value:
            values[name] = value
        elif file:
            try:
                values[name] = Path(file).read_text(encoding="utf-8").removesuffix("\n")
            except (OSError, ValueError):
                reason = unreadable(Path(file)) or "does not name a readable text file."
                values[name] = ""
                errors[name] = [f"{name}_FILE {reason}"]
            else:
                errors |= {} if values[name] else {name: [f"{name}_FILE names an empty file."]}
    return values, errors


def effective(
    names: Iterable[str], source: Mapping[str, str | None], overrides: Mapping[str, str]
) -> tuple[str, ...]:
    """Return those of *names* that *source* sets and *overrides* does not."""

    def sets(mapping: Mapping[str, str | None], name: str) -> bool:
        return bool(mapping.get(name) or mapping.get(f"{name}_FILE"))

    return tuple(name for name in names if sets(source, name) and not sets(overrides, name))


def refusal(
    errors: Mapping[str, Iterable[str]], in_dotenv: Collection[str] = (), mistakes: Sequence[str] = ()
) -> SettingsError:
    """Return the error that lists *errors* by setting, says which are *in_dotenv*, and has *mistakes*."""
    sources = dict.fromkeys(in_dotenv, f" It is set in {dotenv_path()}.")
    invalid = {name: f"{' '.join(errors[name])}{sources.get(name, '')}" for name in sorted(errors)}
    lines = [f"{name}: {reason}" for name, reason in invalid.items()]
    is_one = len(lines) == 1
    problem = f"invalid settings: {lines[0]}" if is_one else "\n  ".join(["invalid settings:", *lines])
    return SettingsError(problem, invalid=invalid, mistakes=mistakes)

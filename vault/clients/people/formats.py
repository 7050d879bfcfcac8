"""Files of secrets: names and values as `.env` or JSON, and written also as YAML."""

import io
import json
import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import PurePath
from typing import Any

from vault.common import kv_values, strict_json
from vault.common.errors import TransferError
from vault.common.kv_values import Number
from vault.common.paths import name_flaw
from vault.common.text import decoded, printable
from vault.toolkit.client.secrets import MAX_VALUE_BYTES


class Format(StrEnum):
    """The format of a file."""

    ENV = "env"
    JSON = "json"
    YAML = "yaml"

    @classmethod
    def of(cls, path: str) -> "Format":
        """Return the format of the file at *path*, by its suffix; `.env` for all others."""
        suffixes = {".json": cls.JSON, ".yaml": cls.YAML, ".yml": cls.YAML}
        return suffixes.get(PurePath(path).suffix.lower(), cls.ENV)


def read(content: bytes, form: Format, *, prefix: str = "", skip_empty: bool = False) -> dict[str, bytes]:
    """Return the values in *content*, by the names of their secrets: each is *prefix* and a name in the file.

    With *skip_empty*, names without a value are left out.

    Raises:
        TransferError: It has another form, or names or values that no secret can have. The message, or its
            parts if there are several problems, never has a value.
    """
    try:
        text = content.decode()
    except UnicodeError:
        raise TransferError("the file is not UTF-8") from None
    if form is Format.YAML:
        raise TransferError("YAML cannot be imported", hint="convert the file to JSON")
    problems: list[TransferError] = []
    found = _read_env(text, problems) if form is Format.ENV else _read_json(text)
    if not isinstance(found, dict):
        raise TransferError("the file is not a JSON object of names and values")
    values: dict[str, bytes] = {}
    for name, value in found.items():
        if value == "" and skip_empty:
            continue
        try:
            values[_secret(prefix + name, form)] = _value(printable(name), value)
        except TransferError as error:
            problems.append(error)
    if problems:
        raise TransferError.of(problems)
    return values


def write(values: Mapping[str, bytes], form: Format, variables: Mapping[str, str]) -> str:
    """Return *values*, by their names, as the content of a file; in `.env`, *variables* replace the names.

    Raises:
        TransferError: The format cannot have one of the values; the message names it.
    """
    texts = {name: _text(name, value) for name, value in values.items()}
    match form:
        case Format.JSON:
            return json.dumps(texts, ensure_ascii=False, indent=2) + "\n"
        case Format.YAML:
            import yaml

            dumped: str = yaml.safe_dump(texts, allow_unicode=True, sort_keys=False)
            return dumped
        case _:
            return "".join(f"{variables[name]}={_quoted(name, text)}\n" for name, text in texts.items())


def _read_env(text: str, problems: list[TransferError]) -> dict[str, str]:
    """Return the values in *text*, and add its *problems*."""
    # As `dotenv_values`, which skips invalid lines.
    from dotenv.parser import parse_stream

    found: dict[str, str] = {}
    for binding in parse_stream(io.StringIO(text)):
        line = binding.original.line
        if binding.key is None and not binding.error:
            continue
        if binding.key is None or binding.value is None:
            problems.append(TransferError(f"line {line} is not NAME=value"))
        elif binding.key in found:
            problems.append(TransferError(f"line {line} has {binding.key} a second time"))
        else:
            found[binding.key] = binding.value
    return found


def _read_json(text: str) -> Any:
    try:
        return strict_json.decode(text.encode(), Number, is_own=True)
    except strict_json.InvalidJSONError as error:
        problem = f"has the name {printable(error.repeated)} twice" if error.repeated else error
        raise TransferError(f"the file {problem}") from None


def _secret(name: str, form: Format) -> str:
    """Return the *name* of a secret, if it can be one."""
    if not (flaw := name_flaw(name)):
        return name
    # In .env, it may be part of a value that has several lines.
    shown = "a name in the file" if form is Format.ENV else printable(name)
    raise TransferError(
        f"{shown} cannot be the name of a secret: it {flaw}",
        hint="a name is, for example, billing/db-password",
    )


def _value(name: str, value: Any) -> bytes:
    """Return *value* as it is stored, if a secret can have it."""
    stored = _stored(name, value)
    if not stored:
        raise TransferError(
            f"the value for {name} is empty", hint="remove it, or add --skip-empty to leave out all of these"
        )
    if len(stored) > MAX_VALUE_BYTES:
        raise TransferError(
            f"the value for {name} has more than {MAX_VALUE_BYTES} bytes", hint="store a key to it instead"
        )
    return stored


def _stored(name: str, value: Any) -> bytes:
    """Return *value* as it is stored: a text as it is, and an object as JSON, as Vault's API has it."""
    try:
        if isinstance(value, dict):
            return kv_values.encode(value)
        # A number is a text, too.
        if type(value) is str:
            return value.encode()
    except UnicodeError:
        raise TransferError(f"the value for {name} has half of a character") from None
    except RecursionError:
        raise TransferError(f"the value for {name} is nested too deeply") from None
    raise TransferError(f"the value for {name} is neither a text nor an object", hint="put it in quotes")


def _text(name: str, value: bytes) -> str:
    text = decoded(value)
    if text is None:
        raise TransferError(
            f"{name} is not text", hint="read it with `secret-manager secret get NAME --out FILE`"
        )
    return text


def _quoted(name: str, text: str) -> str:
    """Return *text* so that shells and readers of `.env` files both have it."""
    # Not with "=": zsh takes `=ls`, also after a colon, as the path of a command.
    if re.fullmatch("[A-Za-z0-9_./:@%+,-]+", text):
        return text
    # In single quotes, readers of `.env` files treat a backslash before a quote or a backslash as an escape.
    # Some replace `${NAME}` even there, and read a carriage return as the end of a line.
    if not re.search(r"'|\\\\|\\$|\r|\$\{", text):
        return f"'{text}'"
    # In double quotes, both unescape these two. Shells replace more, and readers unescape nothing else.
    if not re.search("[$`!\r]", text):
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    raise TransferError(
        f"shells and readers of .env files do not agree on any form of the value of {name}",
        hint="use --format json",
    )

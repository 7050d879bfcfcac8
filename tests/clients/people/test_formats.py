"""Files of secrets: `.env` and JSON, and YAML for exports."""

import io
import json
import subprocess
from pathlib import Path

import pytest
from dotenv import dotenv_values

from vault.clients.people import formats
from vault.clients.people.formats import Format
from vault.common.errors import TransferError

#: Values that shells and readers of `.env` files have in common, with all that is special to either.
COMMON = [
    *("plain", "a b", "a#b", " a ", "$HOME `id`", 'say "hi"', "it's", "a\\b", 'it\'s a\\b "x"', "\\'"),
    *(
        "line\nline\n",
        "it's\nline",
        "\u00e4€😀",
        "!!",
        "a=b",
        "*",
        "~",
        "x\\",
        "a\\\\b",
        "\t",
        "%s",
        "'",
        '"',
        "\\n",
    ),
]


def written(values: dict[str, bytes], form: Format) -> str:
    """Return *values* as a file in which the variables are their names."""
    return formats.write(values, form, {name: name for name in values})


@pytest.mark.parametrize("form", [Format.ENV, Format.JSON])
def test_what_is_written_is_read_back(form: Format) -> None:
    """A file that is written has the same values when it is read."""
    values = {f"K{number}": text.encode() for number, text in enumerate(COMMON)}
    assert formats.read(written(values, form).encode(), form) == values


@pytest.mark.process
def test_shells_and_readers_have_the_same_values(tmp_path: Path) -> None:
    """Shells and python-dotenv read the same from a `.env` file, byte for byte."""
    values = {f"K{number}": text.encode() for number, text in enumerate(COMMON)}
    (tmp_path / "env").write_text(written(values, Format.ENV))
    script = ". ./env; " + "; ".join(f'printf "%s\\0" "$K{number}"' for number in range(len(COMMON)))
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == COMMON
    assert [*dotenv_values(tmp_path / "env").values()] == COMMON


@pytest.mark.parametrize("text", ["=ls", "/bin:=ls", "YQ=="])
def test_an_equals_sign_is_in_quotes(text: str) -> None:
    """A value with an equals sign is quoted, because zsh would replace `=ls` by a path."""
    assert written({"NAME": text.encode()}, Format.ENV) == f"NAME='{text}'\n"


@pytest.mark.parametrize("text", ["it's $5", "'`", "a\\\\$", "'!", "pa${HOME}ss", "a\r\nb", "\r"])
def test_a_value_without_a_common_form_is_refused(text: str) -> None:
    """A value that shells and readers would read differently is refused by its name."""
    with pytest.raises(TransferError, match=r"of NAME; use --format json$") as caught:
        written({"NAME": text.encode()}, Format.ENV)
    assert text not in str(caught.value)
    assert json.loads(written({"NAME": text.encode()}, Format.JSON)) == {"NAME": text}


@pytest.mark.parametrize("value", [b"\xff", b"a\0b"])
@pytest.mark.parametrize("form", list(Format))
def test_only_text_is_written(form: Format, value: bytes) -> None:
    """A value that is not text is refused."""
    with pytest.raises(TransferError, match="NAME is not text"):
        written({"NAME": value}, form)


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("a.json", "json"),
        ("a.yaml", "yaml"),
        ("b.YML", "yaml"),
        (".env", "env"),
        ("-", "env"),
        ("prod.env", "env"),
    ],
)
def test_the_suffix_decides(path: str, form: str) -> None:
    """The suffix of a file is its format; all others are `.env`."""
    assert Format.of(path) == form


def test_the_forms_of_env_files_are_read() -> None:
    """Comments, `export`, quotes and empty lines are read as python-dotenv reads them."""
    text = "# a comment\n\nexport A=1\nB = 'two words' # more\nC=\"x\\ny\"\nD=${A}\n"
    expected = {
        name: value or ""
        for name, value in dotenv_values(stream=io.StringIO(text), interpolate=False).items()
    }
    assert {
        name: value.decode() for name, value in formats.read(text.encode(), Format.ENV).items()
    } == expected


def test_an_object_is_stored_as_json() -> None:
    """A value that is an object is stored as JSON with names in order."""
    expected = {"a/b": b'{"port":"1","tags":["x"],"user":"\xc3\xa4"}', "c": b"d"}
    from_json = '{"a/b": {"user": "ä", "port": "1", "tags": ["x"]}, "c": "d"}'
    assert formats.read(from_json.encode(), Format.JSON) == expected


def test_numbers_in_an_object_are_kept_as_they_are() -> None:
    """A number within a JSON object keeps all its digits; truth values and null stay, too."""
    content = b'{"A": {"a": 3.14159265358979323846, "b": 1e999, "c": 1.10, "d": true, "e": null}}'
    stored = b'{"a":3.14159265358979323846,"b":1e999,"c":1.10,"d":true,"e":null}'
    assert formats.read(content, Format.JSON) == {"A": stored}


@pytest.mark.parametrize(
    ("form", "content", "problem"),
    [
        ("env", b"\xff", "not UTF-8"),
        ("env", b"A=1\nhunter2\n", "line 2 is not NAME=value"),
        ("env", b"A=1\nhunter2 two\n", "line 2 is not NAME=value"),
        ("env", b"A=1\nA=2\n", "line 2 has A a second time"),
        ("env", b"A=\n", "the value for A is empty; remove it, or add --skip-empty"),
        ("env", b"A*=hunter2\n", "a name in the file cannot be the name of a secret"),
        ("env", b"A=" + b"x" * 1_048_577, "the value for A has more than 1048576 bytes"),
        ("json", b'["hunter2"]', "not a JSON object"),
        ("json", b'{"A": "hunter2"', "malformed JSON"),
        ("json", b'{"B": "x", "A": "hunter2", "A": "hunter2"}', "the name A twice"),
        ("json", b'{"A": 5}', "the value for A is neither a text nor an object; put it in quotes"),
        ("json", b'{"A": null}', "the value for A is neither"),
        ("yaml", b"A: hunter2", "YAML cannot be imported; convert the file to JSON"),
        ("json", b'{"A": {"b": "\\ud800"}}', "half of a character"),
        ("json", b'{"A": "\\ud800"}', "half of a character"),
        ("json", b'{"\\ud800": "hunter2"}', "\\ud800 cannot be the name of a secret"),
    ],
)
def test_an_invalid_file_is_refused(form: str, content: bytes, problem: str) -> None:
    """An invalid file is refused with the place, and never with a value."""
    with pytest.raises(TransferError) as caught:
        formats.read(content, Format(form))
    assert problem in str(caught.value)
    assert "hunter" not in str(caught.value)


def test_a_value_that_is_nested_too_deeply_is_refused() -> None:
    """An object of five thousand lists is refused, by the reader or the writer of JSON of this Python."""
    content = b'{"A": {"b": ' + b"[" * 5_000 + b"]" * 5_000 + b"}}"
    with pytest.raises(TransferError, match=r"nested too deeply|malformed JSON"):
        formats.read(content, Format.JSON)


@pytest.mark.parametrize("form", [Format.ENV, Format.JSON])
def test_a_file_can_have_thousands_of_names(form: Format) -> None:
    """The limits of requests are not those of files."""
    values = {f"NAME_{number}": b"x" * 50 for number in range(6_000)}
    assert formats.read(written(values, form).encode(), form, prefix="app/") == {
        f"app/{name}": value for name, value in values.items()
    }


@pytest.mark.parametrize(
    ("form", "content", "problems"),
    [
        (
            "env",
            b"A=\nnonsense\nB=1\nB=2\n*=1\n",
            ["line 2", "B a second time", "for A is empty", "a name in"],
        ),
        (
            "json",
            b'{"A": "", "B": 5, "@ ": "x", "C": "y"}',
            ["for A is empty", "for B is neither", "@  cannot"],
        ),
    ],
)
def test_all_problems_of_a_file_are_found(form: str, content: bytes, problems: list[str]) -> None:
    """An error counts the problems of a file, and has each of them."""
    with pytest.raises(TransferError, match=f"{len(problems)} problems in the file") as caught:
        formats.read(content, Format(form))
    for part, problem in zip(caught.value.parts, problems, strict=True):
        assert problem in part


@pytest.mark.parametrize(("form", "content"), [("env", b"A=\nB=x"), ("json", b'{"A": "", "B": "x"}')])
def test_empty_values_can_be_left_out(form: str, content: bytes) -> None:
    """Names without a value are left out if the user says so."""
    assert formats.read(content, Format(form), skip_empty=True) == {"B": b"x"}

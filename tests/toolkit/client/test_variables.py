"""Environment variables for secrets."""

import re
import shlex

import pytest

from vault.common.errors import ProgramError
from vault.toolkit.client.variables import require_harmless, variable_of

DECISIVE = [
    *("path", "home", "shellopts", "ps4", "prompt-command", "bash-env", "zdotdir", "env", "ifs"),
    *("ld-preload", "dyld-insert-libraries", "gconv-path", "locpath", "glibc-tunables", "xdg-config-home"),
    *("pythonstartup", "perllib", "perl5opt", "node-options", "node-path", "phprc", "lua-init", "rubyopt"),
    *("java-tool-options", "_java-options", "jdk-java-options", "classpath", "maven-opts", "dotnet-startup"),
    *("git-ssh-command", "lessopen", "editor", "pager", "openssl-conf", "ssl-cert-file", "https_proxy"),
    *("sslkeylogfile", "gunicorn-cmd-args", "qt-plugin-path", "goflags", "vault-url", "vault-addr"),
    *("vault-proxy-addr", "bao-addr", "bao-skip-verify", "secret-manager-url", "psql-pager", "aws-pager"),
    *("manpager", "svn-editor", "gh-browser", "uv-default-index", "goproxy", "gonosumdb", "cargo-home"),
    *("docker-host", "kubeconfig", "aws-config-file", "tf-cli-args"),
]


def test_a_variable_is_the_name_below_the_prefix() -> None:
    """The variable of a secret is its name below the prefix, in capitals."""
    assert variable_of("app/db-password", "app/") == "DB_PASSWORD"


def test_a_hint_can_be_copied_into_a_shell() -> None:
    """The creator of a secret cannot choose a name that runs something where a user follows a hint."""
    name = "app/1 $(id)`id`;'&"
    with pytest.raises(ProgramError) as caught:
        variable_of(name, "app/")
    [command] = re.findall("`(secret-manager .*)`", str(caught.value))
    assert shlex.split(command)[-1] == f"NAME={name}"


@pytest.mark.promise("commands")
@pytest.mark.parametrize("name", DECISIVE)
def test_the_name_of_a_secret_does_not_decide_what_runs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The creator of a secret cannot set a variable that decides what programs load, run or trust."""
    variable = variable_of(f"app/{name}", "app/")
    monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ProgramError, match=f"would set {variable}, which decides"):
        require_harmless(variable, f"app/{name}")


@pytest.mark.promise("commands")
def test_an_inherited_variable_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The creator of a secret cannot change a variable that the environment has, and can set any other."""
    monkeypatch.delenv("DB_PASSWORD", raising=False)
    require_harmless("DB_PASSWORD", "app/db-password")
    monkeypatch.setenv("DB_PASSWORD", "mine")
    with pytest.raises(ProgramError, match=r"unset DB_PASSWORD, or .*--env DB_PASSWORD=app/") as caught:
        require_harmless("DB_PASSWORD", "app/db-password")
    assert "mine" not in str(caught.value)

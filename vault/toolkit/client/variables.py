"""Environment variables: their form, and their names from those of secrets."""

import os
import re
import shlex

from vault.common.errors import ProgramError

#: The form of a name that every shell takes.
_FORM = re.compile("[A-Za-z_][A-Za-z0-9_]*")

#: Variables that decide what a program loads, runs or trusts. Creators of secrets must not decide that.
#: No such list is complete, so inherited variables are refused as well.
_DECISIVE = re.compile(
    "|".join(
        (
            "[A-Z]*PATH|HOME|SHELL|VISUAL|(?:.*_|MAN)?(?:PAGER|EDITOR|BROWSER)|TMPDIR|XDG_.*",
            "IFS|ENV|BASH_.*|BASHOPTS|SHELLOPTS|PS[0-9]|PROMPT_COMMAND|ZDOTDIR|FPATH",
            "LD_.*|DYLD_.*|GLIBC_.*|GCONV_PATH|MALLOC_.*|NLSPATH|TERMINFO.*|HOSTALIASES|RES_OPTIONS",
            "PYTHON.*|PIP_.*|PERL.*|RUBY.*|GEM_.*|BUNDLE_.*|NODE_.*|NPM_CONFIG_.*|PHP.*|LUA_.*|ERL_.*",
            ".*JAVA.*OPTIONS|.*_OPTS|JAVA_HOME|DOTNET_.*|CORECLR_.*|COMPLUS_.*",
            "GIT_.*|SSH_ASKPASS|SUDO_ASKPASS|LESSOPEN|LESSCLOSE|MAKEFLAGS",
            "GOFLAGS|GOENV|GOPROXY|GO(?:NO)?SUMDB|RUSTC_WRAPPER|CARGO_(?:BUILD_.*|HOME)|UV_(?:[A-Z]+_)?INDEX(?:_URL)?",
            "PSQLRC|WGETRC|CURL_HOME|TF_CLI_.*|KUBECONFIG|DOCKER_(?:HOST|CONFIG|CONTEXT)",
            "AWS_(?:CONFIG_FILE|SHARED_CREDENTIALS_FILE|CA_BUNDLE)",
            # Where a program of this product, of Vault or of OpenBao sends its token.
            "(?:VAULT|BAO)_(?:URL|ADDR|AGENT_ADDR|PROXY_ADDR|CACERT|CAPATH|SKIP_VERIFY|TLS_SERVER_NAME)",
            "SECRET_MANAGER_(?:URL|CA_CERT)",
            "OPENSSL_.*|SSL_CERT_.*|SSLKEYLOGFILE|GUNICORN_CMD_ARGS|QT_PLUGIN_PATH|CURL_CA_BUNDLE|REQUESTS_CA_BUNDLE|.*_PROXY",
        )
    )
)


def is_variable(text: str) -> bool:
    """Return whether *text* can be the name of a variable."""
    return _FORM.fullmatch(text) is not None


def variable_of(name: str, prefix: str) -> str:
    """Return the variable for the secret *name* below *prefix*: `DB_PASSWORD` for `app/db-password`.

    Raises:
        ProgramError: It has no variable.
    """
    found = re.sub("[^A-Z0-9_]", "_", name.removeprefix(prefix).upper())
    if not is_variable(found):
        raise ProgramError(
            f"{name} gives no name of a variable",
            hint=f"name it yourself, with `{_command('NAME', name)}`",
        )
    return found


def require_harmless(variable: str, name: str) -> None:
    """Refuse a *variable* that only the user may choose, not the creator of the secret *name*.

    Raises:
        ProgramError: It decides what programs do, or this environment has it.
    """
    if _DECISIVE.fullmatch(variable):
        problem, remedy = "decides what programs load, run or trust", "rename the secret"
    elif variable in os.environ:
        problem, remedy = "this environment has already", f"unset {variable}"
    else:
        return
    raise ProgramError(
        f"{name} would set {variable}, which {problem}",
        hint=f"{remedy}, or choose it yourself, with `{_command(variable, name)}`",
    )


def _command(variable: str, name: str) -> str:
    """Return the command that a user can copy into a shell, whatever the creator of the secret called it."""
    return f"secret-manager secret run --env {shlex.quote(f'{variable}={name}')}"

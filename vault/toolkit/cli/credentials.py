"""The credential of commands that work with the master key, or else with a token."""

import os
from collections.abc import Callable
from importlib.util import find_spec
from pkgutil import resolve_name

from vault.common import feature
from vault.toolkit.client import profile

#: Loaded when it is needed: that takes a while.
_READ_DOTENV = "vault.common.config.dotenv:read_dotenv"

#: A package that only the extra `server` installs.
_OF_SERVER = "mongoengine"


def by_credential(operator: str, person: str) -> Callable[[], str]:
    """Return a function that returns *operator*, or *person* if there is a token and no master key.

    Without the packages of the service, it returns *person*.
    """
    return lambda: person if find_spec(_OF_SERVER) is None or (_has_token() and not _has_key()) else operator


def _has_token() -> bool:
    return bool(os.environ.get("VAULT_TOKEN", "").strip()) or profile.load() is not None


def _has_key() -> bool:
    settings = ("MASTER_KEY", *(opener.setting for opener in feature.openers()))
    names = [name for setting in settings for name in (setting, f"{setting}_FILE")]
    return any(map(os.environ.get, names)) or any(map(resolve_name(_READ_DOTENV)().get, names))

"""The server in an administrator's secret: all of the value except a user and password."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from vault.crypto.token_key import TokenKey
from vault.features.rotation.documents import Rotation
from vault.features.rotation.errors import RotationRefusedError

#: Only if no parser of URLs can find the host elsewhere: a driver ends it at another character than others.
_USER_AND_PASSWORD = re.compile("(?<=://)[^/?#@]*@")


def server_of(url: str) -> str:
    """Return an administrator's *url* without its user and password; the path of a program stays whole.

    Options stay, too: some name a host.
    """
    return _USER_AND_PASSWORD.sub("", url.strip(), count=1)


def require_free(
    users: Iterable[str], url: str, key: TokenKey, documents: Iterable[Mapping[str, Any]], *, own: str
) -> None:
    """Require that no plan in *documents* but *own* changes a password of *users* on the server of *url*.

    Each would replace what the other one has published.

    Raises:
        RotationRefusedError: One does.
    """
    server = server_of(url)
    for plan in filter(None, (Rotation.genuine(document, key) for document in documents)):
        is_same = {*plan.users}.intersection(users) and plan.server == key.rotation_server(server, plan.id)
        if is_same and plan.id != own:
            raise RotationRefusedError("Another plan changes the password of one of the users.")

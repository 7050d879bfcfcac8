"""The server in an administrator's secret: all of the value except a user and password."""

import re

#: Only if no parser of URLs can find the host elsewhere: a driver ends it at another character than others.
_USER_AND_PASSWORD = re.compile("(?<=://)[^/?#@]*@")


def server_of(url: str) -> str:
    """Return an administrator's *url* without its user and password; the path of a program stays whole.

    Options stay, too: some name a host.
    """
    return _USER_AND_PASSWORD.sub("", url.strip(), count=1)

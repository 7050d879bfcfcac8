"""The forms of credentials, in texts that must not contain any."""

import re

#: A token, a wrapping token, and the token of a request for a value. A name that contains one is refused:
#: names are in the trail and in lists.
_TOKEN = re.compile("smt_[0-9A-Za-z]{38}|sm[wr]_[0-9A-Za-z_-]{43}")

_CREDENTIAL = re.compile(
    "|".join(
        (
            _TOKEN.pattern,
            # A part of a token, a JWT, and a token of Vault.
            "smt_[0-9A-Za-z]{16,}",
            r"(?<![0-9A-Za-z])eyJ[0-9A-Za-z_-]{16,}(?:\.+[0-9A-Za-z_-]+)*",
            r"(?<![0-9A-Za-z])(?:hv)?[sbr]\.[0-9A-Za-z_-]{20,}(?:\.+[0-9A-Za-z_-]+)*",
            # A master key.
            r"(?<![0-9A-Za-z+/])[0-9A-Za-z+/]{43}=",
            # The user and the password in a URL.
            r"(?<=://)\S+(?=@)",
        )
    )
)


def has_token(text: str) -> bool:
    """Return whether *text* contains a token of this service, at any place.

    Tokens of other services can look like names, so they are not recognised.
    """
    return _TOKEN.search(text) is not None


def token_flaw(text: str) -> str:
    """Return the rule that *text*, a name, breaks if it contains a token; empty if it does not."""
    return "must not contain a token" if has_token(text) else ""


def without_tokens(text: str) -> str:
    """Return *text* with `…` in place of each token of this service."""
    return _TOKEN.sub("…", text)


def masked(text: str) -> str:
    """Return *text* with `…` in place of everything that has the form of a credential."""
    return _CREDENTIAL.sub("…", text)

"""The environment of a program that uses the broker: its proxy, and the authorities that it trusts."""

import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

#: Inherited variables that lead to the broker's own credential, or past the broker.
HIDDEN = frozenset({b"SECRET_MANAGER_TOKEN_FILE", b"SECRET_MANAGER_SESSION_FILE", b"ALL_PROXY", b"all_proxy"})


def variables(proxy: str, session: str, ca_file: Path, bundle: Path) -> Mapping[str, str]:
    """Return the variables of a program that names *session* to the broker at *proxy*, a URL.

    *ca_file* has the broker's certificate, and *bundle* what `bundled` returns.
    """
    scheme, _, address = proxy.partition("://")
    url = f"{scheme}://session:{quote(session, safe='')}@{address}"
    names = {"HTTPS_PROXY": url, "HTTP_PROXY": url, "NO_PROXY": ""}
    return {
        **names,
        # Programs prefer these, and curl has no other one for http://.
        **{name.lower(): text for name, text in names.items()},
        "NODE_USE_ENV_PROXY": "1",
        "NODE_EXTRA_CA_CERTS": str(ca_file),
        **dict.fromkeys(
            ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO"), str(bundle)
        ),
    }


def bundled(certificate: bytes) -> bytes:
    """Return the system's authorities, and *certificate*, in PEM: most programs take one file for all."""
    return b"".join((*_of_system(), certificate))


def _of_system() -> Iterator[bytes]:
    places = ssl.get_default_verify_paths()
    if places.cafile:
        yield _lines(Path(places.cafile))
    elif places.capath:
        # OpenSSL's links, one for each certificate.
        for path in sorted(Path(places.capath).glob("*.[0-9]")):
            yield _lines(path)


def _lines(path: Path) -> bytes:
    return path.read_bytes().rstrip(b"\n") + b"\n"


def without_hidden(environment: Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
    """Return *environment* without the inherited variables that a program must not have."""
    return {name: text for name, text in environment.items() if name not in HIDDEN}

"""The scheme `transit`: a derived key of OpenBao's or Vault's secrets engine `transit`."""

import re
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from vault.features.custody import http
from vault.features.custody.errors import CustodyRefusedError
from vault.features.custody.provider import MAX_BLOB_BYTES, Provider, Unwrapped, encoded
from vault.toolkit.client import address

_KEK = re.compile(r"(https?://[^/]+/v1/(?:[\w-][\w.-]*/)+)keys/(\w[\w.-]*)", re.ASCII)
_VERSION = re.compile(rb"vault:(v[0-9]{1,9}):")


class Transit(Provider):
    """A key of OpenBao, by the address at which its API describes it."""

    def __init__(self, kek: str, settings: Mapping[str, str]) -> None:
        """Take the token and the file of trusted certificates from *settings*.

        Raises:
            CustodyRefusedError: *kek* is no such address, or there is no token; or without TLS, no
                certificate shows that the server is one that TRANSIT_CA trusts.
        """
        match = _KEK.fullmatch(kek)
        try:
            address.checked(kek)
        except ValueError:
            match = None
        if match is None:
            raise CustodyRefusedError("the KEK is not in the form https://HOST:8200/v1/transit/keys/NAME")
        self._engine, self._key = match.groups()
        self._token = settings.get("TRANSIT_TOKEN", "")
        self._ca_file = settings.get("TRANSIT_CA")
        if not self._token or not self._token.isascii() or not self._token.isprintable():
            raise CustodyRefusedError("TRANSIT_TOKEN is unset, or not a token")
        if self._ca_file and not kek.startswith("https:"):
            raise CustodyRefusedError("TRANSIT_CA is set, so the KEK must be https://…")

    def wrap(self, material: bytes, context: dict[str, str]) -> bytes:
        """Return *material* wrapped by the newest version of the key."""
        data, _ = self._post("encrypt", context, plaintext=b64encode(material).decode())
        blob = http.text(data, "ciphertext").encode()
        if not _VERSION.match(blob) or len(blob) > MAX_BLOB_BYTES:
            raise CustodyRefusedError("the provider replied without ciphertext")
        return blob

    def unwrap(self, blob: bytes, context: dict[str, str]) -> Unwrapped:
        """Return the wrapped key."""
        data, request_id = self._post("decrypt", context, ciphertext=blob.decode("ascii", "replace"))
        return Unwrapped(http.content(data, "plaintext"), request_id)

    def describe(self, blob: bytes) -> str:
        """Return the version of the key."""
        match = _VERSION.match(blob)
        return match[1].decode() if match else ""

    def _post(self, verb: str, context: dict[str, str], **members: str) -> tuple[dict[str, Any], str]:
        reply = http.send(
            "POST",
            f"{self._engine}{verb}/{self._key}",
            headers={"X-Vault-Token": self._token, "X-Vault-Request": "true"},
            body=encoded(members | {"context": b64encode(encoded(context)).decode()}),
            ca_file=self._ca_file,
        )
        if reply.status != 200:
            raise CustodyRefusedError(
                f"the transit engine refused to {verb}, with status {reply.status}",
                hint="check TRANSIT_TOKEN and its policy, and that the key is a derived one",
            )
        document = http.members(reply)
        data = document.get("data")
        return (data if isinstance(data, dict) else {}), http.text(document, "request_id")

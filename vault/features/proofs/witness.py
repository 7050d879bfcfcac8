"""A witness: it confirms that a checkpoint existed, out of reach of anyone with write access to MongoDB."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from vault.common.errors import ServiceRefusedError, ServiceUnavailableError, SettingsError
from vault.common.text import printable
from vault.core.crypto import encoding
from vault.core.documents.audit import Record
from vault.core.trail.streams import checkpoint
from vault.features.proofs import counter_signature
from vault.features.proofs.errors import WitnessError
from vault.toolkit.client.http import USER_AGENT, HTTPClient, RequestFailedError
from vault.toolkit.client.service import Service

_TIMEOUT_SECONDS = 10

#: The maximum size of an answer: a time stamp has about 6 KiB, with the certificates of its authority.
_MAX_ANSWER_BYTES = 65_536

#: The maximum number of heads that another installation takes.
_MAX_HEADS = 24_000

#: The maximum length of the reason against a time stamp: the library can quote from it.
_MAX_REASON_LENGTH = 120

_PATH = "/vault/witness/checkpoint"

_NO_ANSWER = "{} sends another reply than expected"


def time_stamps() -> ModuleType:
    """Return the module for time stamps.

    Raises:
        SettingsError: The packages that it needs are not installed.
    """
    try:
        from vault.features.proofs import time_stamps
    except ImportError:
        raise SettingsError(
            "time stamps need the package rfc3161-client", hint="install the extra witness of the package"
        ) from None
    return time_stamps


@dataclass(frozen=True, slots=True)
class Witness:
    """An RFC 3161 authority (`tsa+https://…`), or another installation (`witness+https://…`).

    http is for loopback. Redirects are not followed.
    """

    url: str
    #: The token and the file of trusted certificates, for the settings' other installation and for all.
    token: str = field(repr=False)
    ca_file: str | None

    @property
    def name(self) -> str:
        """Its URL without a query, which can have a credential."""
        return self.url.partition("?")[0]

    @property
    def host(self) -> str:
        """Its host and port, for people."""
        return urlsplit(self.url).netloc

    def confirm(
        self, made: Mapping[str, Any], retention_days: int, closed: Sequence[Record] = ()
    ) -> dict[str, Any]:
        """Show it the checkpoint *made*, and return its answer. *closed* are heads that it no longer has.

        Raises:
            WitnessError: It does not answer, or refuses.
        """
        try:
            if self.url.startswith("tsa+"):
                return self._time_stamp(made)
            some = closed[: max(0, _MAX_HEADS - len(made["heads"]))]
            return self._signature({"checkpoint": made, "retention_days": retention_days, "closed": some})
        except OSError:
            # The file of certificates had some when the process started.
            raise WitnessError(f"{self.host} cannot be asked: AUDIT_WITNESS_CA cannot be read") from None

    def _time_stamp(self, made: Mapping[str, Any]) -> dict[str, Any]:
        parts = urlsplit(self.url.removeprefix("tsa+"))
        request = time_stamps().request_for(encoding.canonical(made))
        http = HTTPClient(parts.geturl(), max_bytes=_MAX_ANSWER_BYTES, ca_file=self.ca_file)
        try:
            reply = http.request(
                "POST",
                parts._replace(scheme="", netloc="", path=parts.path or "/").geturl(),
                headers={"Content-Type": "application/timestamp-query", "User-Agent": USER_AGENT},
                body=request.as_bytes(),
                timeout=_TIMEOUT_SECONDS,
            )
            if reply.status != HTTPStatus.OK:
                raise WitnessError(f"{self.host} answers with status {reply.status}")
            time_stamps().check(reply.content, request)
        except RequestFailedError as error:
            raise WitnessError(f"{self.host} {error}") from None
        except ValueError as error:
            reason = printable(str(error)[:_MAX_REASON_LENGTH])
            raise WitnessError(f"{self.host} sends no usable time stamp: {reason}") from None
        return {"time_stamp": b64encode(reply.content).decode()}

    def _signature(self, shown: Mapping[str, Any]) -> dict[str, Any]:
        service = Service(
            self.url.removeprefix("witness+"),
            self.token,
            ca_file=self.ca_file,
            timeout=_TIMEOUT_SECONDS,
            max_reply_bytes=_MAX_ANSWER_BYTES,
        )
        try:
            answer = service.call(_PATH, shown)
        except ServiceRefusedError as error:
            raise WitnessError(f"{self.host}: {error.problem}", is_refusal=True) from None
        except ServiceUnavailableError as error:
            raise WitnessError(error.problem) from None
        if not counter_signature.verifies(answer, checkpoint.digest(shown["checkpoint"])):
            raise WitnessError(_NO_ANSWER.format(self.host))
        return answer

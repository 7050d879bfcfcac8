"""Time stamps of RFC 3161. Imported only if they are used: their library is optional."""

from collections.abc import Sequence
from datetime import datetime

from cryptography.x509 import Certificate, DuplicateExtension, InvalidVersion, UnsupportedGeneralNameType
from rfc3161_client import (
    HashAlgorithm,
    PKIStatus,
    TimeStampRequest,
    TimestampRequestBuilder,
    TimeStampResponse,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)

#: What the library raises for an invalid certificate in a time stamp, besides ValueError.
_NO_CERTIFICATES = (DuplicateExtension, InvalidVersion, UnsupportedGeneralNameType)


def request_for(content: bytes) -> TimeStampRequest:
    """Return a request for a time stamp of the SHA-256 of *content*, with a random nonce."""
    return TimestampRequestBuilder().data(content).hash_algorithm(HashAlgorithm.SHA256).build()


def check(reply: bytes, request: TimeStampRequest) -> None:
    """Check that *reply* is a time stamp that answers *request*, and has certificates; not yet whose.

    Raises:
        ValueError: It is not.
    """
    response = decode_timestamp_response(reply)
    if PKIStatus(response.status) is not PKIStatus.GRANTED:
        raise ValueError("no time stamp was granted")
    stamp = response.tst_info
    mine, asked = stamp.message_imprint, request.message_imprint
    if (stamp.nonce, mine.hash_algorithm, mine.message) != (
        request.nonce,
        asked.hash_algorithm,
        asked.message,
    ):
        raise ValueError("the time stamp is of something else")
    if not response.signed_data.certificates:
        raise ValueError("no one could verify the time stamp later")


def verified_time(reply: bytes, content: bytes, authorities: Sequence[Certificate]) -> datetime:
    """Return the time at which *reply* proves that *content* existed.

    Certificates have to be valid at that time. The *authorities*, at least one, are trusted.

    Raises:
        ValueError: It proves nothing, or no one of the *authorities* vouches for the one who signed it.
    """
    response: TimeStampResponse = decode_timestamp_response(reply)
    try:
        VerifierBuilder(roots=list(authorities)).build().verify_message(response, content)
    except (VerificationError, *_NO_CERTIFICATES) as error:
        raise ValueError(str(error)) from None
    return response.tst_info.gen_time

"""Wrapping tokens over HTTP, in Vault's dialect: what they wrap, and where it comes from."""

from flask import Response, request
from werkzeug.exceptions import BadRequest

from vault.common.outcomes import Status
from vault.core.attempt import Action
from vault.core.secrets.wrapping import MAX_BYTES, WrappingToken, is_wrapping_token
from vault.features.dialect import wrapping_replies
from vault.features.dialect.credentials import admit_holder, admit_request, credential
from vault.features.dialect.envelopes import decoded_body, envelope, json_body, restored
from vault.features.dialect.operation import DialectBlueprint
from vault.toolkit.document.fields import Body, FreeForm, Reply, integer_field, text_field
from vault.toolkit.http import auth
from vault.toolkit.operations.blueprint import current_attempt, services
from vault.toolkit.operations.replies import reply_memory

blueprint = DialectBlueprint(
    "Vault wrapping",
    __name__,
    path="sys/wrapping",
    description="Replies that one caller can take, once. With the header `X-Vault-Wrap-TTL`, every operation "
    "of Vault's API that replies with data makes one, except look-ups of wrapping tokens.",
)

_TOKEN = f"smw_{'0' * 43}"
_DATA = {"password": "s3cr3t"}
_TIME = "2026-11-24T15:30:00.000Z"


class WrappingTokenBody(Body):
    """A wrapping token."""

    token = text_field("The wrapping token; not needed where it is the credential.", _TOKEN)


class AnyObject(FreeForm):
    """Any object."""


class AnyData(FreeForm):
    """The data of the reply that was wrapped."""


class WrappedOrigin(Reply):
    """The origin of a wrapped reply."""

    creation_path = text_field("The path of the request that it answers.", "secret/data/billing/db")
    creation_time = text_field("The time of wrapping.", _TIME)
    creation_ttl = integer_field("Its life in seconds.", 60)


@blueprint.route("/wrap", methods=("POST", "PUT"))
@blueprint.operation(Action.WRAP, scope=None, has_value=True, takes=AnyObject, example=_DATA)
@blueprint.enveloped(
    description="The wrapping token, in `wrap_info`.",
    example={
        "request_id": "",
        "wrap_info": {
            "token": _TOKEN,
            "accessor": "0" * 24,
            "ttl": 60,
            "creation_time": _TIME,
            "creation_path": "sys/wrapping/wrap",
        },
    },
)
def wrap_data() -> Response:
    """Wrap data.

    Keeps the body, an object, for the one who unwraps it. Requires any valid credential, and the header
    `X-Vault-Wrap-TTL`.
    """
    if not wrapping_replies.lifetime():
        raise BadRequest("endpoint requires response wrapping to be used")
    with decoded_body() as body:
        reply = envelope(body)
    current_attempt().finish(Status.SUCCESS)
    return reply


@blueprint.route("/unwrap", methods=("POST", "PUT"))
@blueprint.operation(Action.UNWRAP, scope=None, authorize=admit_holder, takes=WrappingTokenBody, example={})
@blueprint.enveloped(AnyData, description="The reply that was wrapped.", example={"data": _DATA})
def unwrap_data() -> Response:
    """Unwrap a reply.

    Returns what was wrapped, to the first who asks. The credential is the wrapping token; or any valid
    credential, and the body has the wrapping token. With the header `X-Vault-Wrap-TTL`, the reply is wrapped
    again, and expires no later than before.
    """
    token = credential(request) or ""
    if not is_wrapping_token(token):
        token = _token_in_body()
    attempt = current_attempt()
    # Reserved first: afterwards, the reply is spent.
    with auth.CountedFailures(attempt), reply_memory(MAX_BYTES):
        reply, origin = services().wrapping.unwrap(WrappingToken(token), restored, attempt=attempt)
    wrapping_replies.end_with(origin)
    return reply


@blueprint.route("/lookup", methods=("POST", "PUT", "GET"))
@blueprint.operation(
    Action.WRAP_LOOKUP,
    scope=None,
    authorize=admit_request,
    takes=WrappingTokenBody,
    example={"token": _TOKEN},
)
@blueprint.enveloped(WrappedOrigin, description="Where the wrapped reply comes from.")
def look_up_wrapping_token() -> Response:
    """Look up a wrapping token.

    Says where a wrapped reply comes from, without unwrapping it. The token is in the body, or the credential.
    This reply is never wrapped.
    """
    if wrapping_replies.lifetime():
        # Anyone who holds a token could have any number of replies kept, each for longer than the token.
        raise BadRequest("a look-up cannot be wrapped")
    attempt = current_attempt()
    token = _token_in_body() or credential(request) or ""
    with auth.CountedFailures(attempt):
        origin = services().wrapping.look_up(WrappingToken(token), attempt=attempt)
    return envelope(
        {
            "creation_path": origin.path,
            "creation_time": origin.created_at,
            "creation_ttl": origin.seconds,
        }
    )


def _token_in_body() -> str:
    token = json_body().get("token")
    return token if isinstance(token, str) else ""

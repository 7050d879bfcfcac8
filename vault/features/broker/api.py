"""Uses over HTTP: what a broker may use for a session, and the value for a request of one."""

from typing import Any

from marshmallow import ValidationError, fields, post_load

from vault.common.errors import InvalidCredentialError, LimitReachedError, ScopeMissingError
from vault.common.networks import network
from vault.core.attempt import Action, Attempt
from vault.core.principal import UNAUTHENTICATED, Principal, Scope
from vault.core.secrets import reach
from vault.features.broker.errors import (
    RuleAmbiguousError,
    SessionInvalidError,
    UnusableValueError,
    UseRefusedError,
)
from vault.features.broker.fields import HOST, METHOD, PATH, host_field, method_field, path_field
from vault.features.broker.rules import Target, plain_host
from vault.features.broker.uses import Uses
from vault.service.api.secret_requests import NAME, name_field
from vault.toolkit.document.errors import FORBIDDEN, ErrorDoc
from vault.toolkit.document.fields import (
    VISIBLE_PATTERN,
    Body,
    Reply,
    integer_field,
    matches,
    objects_field,
    text_field,
    texts_field,
)
from vault.toolkit.http import rate_limits
from vault.toolkit.http.auth import CountedFailures
from vault.toolkit.operations.blueprint import Blueprint, current_attempt, services

_SESSION = f"smt_{'0' * 32}05XDxM"
_ADDRESS = "192.0.2.7"
#: Longer than any JWT that is accepted.
_MAX_SESSION_CHARACTERS = 16_384

blueprint = Blueprint(
    "Uses",
    __name__,
    url_prefix="/vault/secret",
    description="Use secrets for programs and agents that never get them.",
    error_docs={
        "SessionRefused": ErrorDoc(SessionInvalidError("unknown"), *FORBIDDEN),
        "UseRefused": ErrorDoc(UseRefusedError(), "session_invalid", *FORBIDDEN),
        "RuleAmbiguous": ErrorDoc(
            RuleAmbiguousError("Several secrets have a rule for this request: billing/stripe, test/stripe."),
            "limit_reached",
        ),
        "TooManyUsable": ErrorDoc(LimitReachedError("More than 1000 secrets can be used here.")),
        "UnusableValue": ErrorDoc(
            UnusableValueError("The value is not text in UTF-8."), "unprocessable_entity"
        ),
    },
)


def _address(text: str) -> None:
    try:
        is_address = network(text).num_addresses == 1 and "/" not in text
    except ValueError:
        is_address = False
    if not is_address:
        raise ValidationError("Must be an IP address.")


class SessionSchema(Body):
    """The session for which a broker asks."""

    session = text_field(
        f"The token or JWT, with the scope `{Scope.SECRET_USE}`, of the one for whom the broker asks.",
        _SESSION,
        shape={"pattern": VISIBLE_PATTERN, "maxLength": _MAX_SESSION_CHARACTERS},
        required=True,
        validate=matches("[!-~]{1,16384}", "Must be a token or a JWT."),
    )
    client = text_field(
        "The address of the broker's client, by which invalid sessions count; the broker's own if omitted.",
        _ADDRESS,
        shape={"format": "ip"},
        load_default=None,
        validate=_address,
    )


class UseSchema(SessionSchema):
    """A request for which a value is used."""

    host = host_field("The host of the request, with its port unless that is 443.", required=True)
    method = method_field("The method of the request.", required=True)
    path = path_field("The path of the request, without its query.", required=True)
    name = name_field(description="The secret to use; if omitted, the one with the longest matching path.")

    @post_load
    def _aim(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        target = Target(plain_host(data.pop("host")), data.pop("method"), data.pop("path"))
        return {"name": None, **data, "target": target}


class UseReply(Reply):
    """A header with a value, for one request."""

    name = fields.String(required=True, metadata=NAME | {"description": "The name of the secret."})
    version = integer_field("The version of the value.", 1, required=True)
    header = text_field("The header to set.", "Authorization", required=True)
    value = text_field("The whole value of the header.", "Bearer sk_test_4eC39HqLyjWD", required=True)
    secret = text_field("What must be removed from what comes back.", "sk_test_4eC39HqLyjWD", required=True)


class UsableRule(Reply):
    """A use rule of a secret, without its header."""

    name = fields.String(required=True, metadata=NAME | {"description": "The name of the secret."})
    hosts = texts_field("The hosts.", [HOST])
    methods = texts_field("The methods.", [METHOD])
    paths = texts_field("The paths.", [PATH])


class UsableReply(Reply):
    """What a session can use."""

    rules = objects_field(UsableRule, "The use rules, in order of the secrets' names.")


def _begin(asked: dict[str, Any]) -> Principal:
    """Make the session that was *asked* for the principal of the current attempt; return the broker's.

    Raises:
        SessionInvalidError: The session is invalid.
        RateLimitedError: There were too many requests of the session, or too many invalid ones.
        CredentialsUnavailableError: The session cannot be checked now.
    """
    attempt = current_attempt()
    broker = attempt.principal
    attempt.details["via_broker"] = broker.name
    # A JWT can claim both scopes: it would obtain values by its own word.
    if Scope.SECRET_USE in broker.scopes:
        attempt.details["reason"] = "both sides"
        raise ScopeMissingError(Scope.SECRET_BROKER)
    client = asked["client"]
    if client:
        attempt.details["client"] = client
    session = Attempt(action=attempt.action, principal=UNAUTHENTICATED, ip=client or attempt.ip)
    try:
        with CountedFailures(session):
            _identify(asked["session"], session, broker)
        rate_limits.count_request(session)
    finally:
        attempt.principal = session.principal
        attempt.details |= session.details
    return broker


def _identify(credential: str, session: Attempt, broker: Principal) -> None:
    try:
        services().authenticator.identify(credential, attempt=session)
    except InvalidCredentialError as error:
        raise SessionInvalidError(error.reason) from None
    principal = session.principal
    if Scope.SECRET_USE not in principal.scopes or Scope.SECRET_BROKER in principal.scopes:
        raise SessionInvalidError(f"needs {Scope.SECRET_USE}")
    if principal.namespace != broker.namespace:
        raise SessionInvalidError(reach.ANOTHER_NAMESPACE)


_TARGET = {"host": HOST, "method": METHOD, "path": PATH}


@blueprint.post("/use")
@blueprint.operation(
    Action.USE, scope=Scope.SECRET_BROKER, refusals=("UseRefused", "RuleAmbiguous", "UnusableValue")
)
@blueprint.arguments(
    UseSchema, examples={"use": {"value": {"session": _SESSION, **_TARGET}, "x-requires-credential": True}}
)
@blueprint.response(200, UseReply, description="The use is in the audit trail.")
def use_secret(body: dict[str, Any]) -> dict[str, Any]:
    """Use a secret for a session.

    For brokers only: returns the header with a secret's value for one request of a session, whose holder
    never gets it, once the use is in the audit trail. The secret must be within the paths of both, and have a
    use rule for the request. If it has `max_reads`, every use counts.
    """
    broker, attempt = _begin(body), current_attempt()
    used = services().of(Uses).use(body["target"], body["name"], broker=broker, attempt=attempt)
    made = used.credential
    return {
        "name": used.name,
        "version": used.version,
        "header": made.header,
        "value": made.value,
        "secret": made.secret,
    }


@blueprint.post("/usable")
@blueprint.operation(Action.USE_LIST, scope=Scope.SECRET_BROKER, refusals=("SessionRefused", "TooManyUsable"))
@blueprint.arguments(
    SessionSchema, examples={"usable": {"value": {"session": _SESSION}, "x-requires-credential": True}}
)
@blueprint.response(200, UsableReply, description="The hosts, methods and paths, without values.")
def list_usable(body: dict[str, Any]) -> dict[str, Any]:
    """List what a session can use.

    For brokers only: returns the use rules of all secrets within the paths of both, so that a broker knows
    which requests it must intercept.
    """
    broker = _begin(body)
    found = services().of(Uses).usable(broker=broker, attempt=current_attempt())
    return {
        "rules": [
            {"name": name, "hosts": rule.hosts, "methods": rule.methods, "paths": rule.paths}
            for name, rule in found
        ]
    }

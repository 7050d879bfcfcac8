"""Additional schemathesis checks of the service's responses; `__main__.py` loads them."""

import json
import os
import re
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from ipaddress import IPv4Network, IPv6Network
from itertools import count
from typing import Any
from urllib.request import Request, urlopen
from uuid import uuid4

import schemathesis
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import strategies
from schemathesis.generation import GenerationMode
from schemathesis.generation.meta import TestPhase

from vault.common.labels import key_flaw, text_flaw
from vault.common.paths import name_flaw, path_flaw, prefix_flaw

_KEY = "Idempotency-Key"
_VALID_KEY = re.compile("[!-~]{1,255}")
#: The principal of the run, which is the name of its token.
_PRINCIPAL = "fuzz"
_PEM_PATTERN = "^-----BEGIN PUBLIC KEY-----"
#: They revoke the token that they are sent with.
_REVOKE_SELF = ("/vault/token/revoke-self", "/v1/auth/token/revoke-self")

#: Minimum length of a secret to search for: a shorter text can occur in a response by chance.
_SOME = 12


#: Networks, and single addresses, in the forms that the document's `cidr` stands for.
_NETWORKS = strategies.one_of(
    *(
        strategies.builds(
            lambda address, prefix, kind=kind: str(kind((address, prefix), strict=False)),
            strategies.integers(0, 2**bits - 1),
            strategies.integers(0, bits),
        )
        for kind, bits in ((IPv4Network, 32), (IPv6Network, 128))
    ),
    strategies.ip_addresses().map(str),
).filter(lambda text: not text.startswith("::ffff:"))
schemathesis.openapi.format("cidr", _NETWORKS)
schemathesis.openapi.format("ip", strategies.ip_addresses().map(str))

#: URLs of key sets, and public keys of the kinds that an issuer can have.
schemathesis.openapi.format(
    "uri", strategies.from_regex(r"https://[a-z]{1,9}\.example/[a-z]{0,9}", fullmatch=True)
)
_PUBLIC_KEYS = [
    key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    for key in (Ed25519PrivateKey.generate(), generate_private_key(SECP256R1()))
]
schemathesis.openapi.format("pem", strategies.sampled_from(_PUBLIC_KEYS))

_numbers = count()


@schemathesis.hook
def before_load_schema(_context: schemathesis.HookContext, raw_schema: dict[str, Any]) -> None:
    """Add rules that OpenAPI 3.0 cannot state, or that generators of clients do not understand."""
    for part in _parts(raw_schema["components"]["schemas"]):
        if part.get("nullable") and "enum" in part:
            part["enum"].append(None)
        if part.get("pattern") == _PEM_PATTERN:
            del part["pattern"]
            part["format"] = "pem"
        # apispec adds any object to the rules of an object that may be null.
        if part.get("nullable") and {"type": "object", "nullable": True} in part.get("anyOf", ()):
            part["anyOf"].remove({"type": "object", "nullable": True})
        if "x-propertyNames" in part:
            name = part.pop("x-propertyNames")["pattern"]
            part |= {"patternProperties": {name: part["additionalProperties"]}, "additionalProperties": False}


@schemathesis.hook
def before_call(_context: schemathesis.HookContext, case: schemathesis.Case, **_: Any) -> None:
    """Make each valid `Idempotency-Key` unique, as clients must: otherwise a repeated one is refused.

    Also, keep the token of the run. Replies have its name and accessor, and after its revocation
    every reply would be 401.
    """
    key = (case.headers or {}).get(_KEY)
    if isinstance(key, str) and _VALID_KEY.fullmatch(key):
        case.headers[_KEY] = f"{key[:200]}-{next(_numbers)}"
    if case.meta and case.meta.generation.mode is GenerationMode.POSITIVE:
        case.body = _alone(_in_form(case.body))
        # No reply has had it, unless a link led here.
        if isinstance(case.body, dict) and case.meta.phase.name is not TestPhase.STATEFUL:
            case.body.pop("cursor", None)
    for field, own in (("name", _PRINCIPAL), ("accessor", _accessor())):
        if isinstance(case.body, dict) and case.body.get(field) == own:
            case.body[field] = "another"
    # An issuer with a public key has no algorithms of other kinds.
    if isinstance(case.body, dict) and isinstance(case.body.get("public_key"), str):
        case.body.pop("algorithms", None)


@schemathesis.auth(refresh_interval=None)
class Credential:
    """The token of the run, or a new one that may revoke itself."""

    def get(self, case: schemathesis.Case, _context: schemathesis.AuthContext) -> str:
        """Return the token for *case*."""
        token = os.environ["FUZZ_TOKEN"]
        if case.path not in _REVOKE_SELF:
            return token
        body = json.dumps({"name": f"fuzz-{uuid4()}", "role": "reader"}).encode()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        request = Request(f"{os.environ['FUZZ_URL']}/vault/token/create", body, headers)  # noqa: S310 - our own URL
        with urlopen(request) as reply:  # noqa: S310 - our own URL
            return str(json.load(reply)["token"])

    def set(self, case: schemathesis.Case, token: str, _context: schemathesis.AuthContext) -> None:
        """Send *token* with *case*."""
        case.headers["Authorization"] = f"Bearer {token}"


@cache
def _accessor() -> str:
    """Return the accessor of the token of the run."""
    headers = {"Authorization": f"Bearer {os.environ['FUZZ_TOKEN']}"}
    request = Request(f"{os.environ['FUZZ_URL']}/v1/auth/token/lookup-self", headers=headers)  # noqa: S310 - our own URL
    with urlopen(request) as reply:  # noqa: S310 - our own URL
        return str(json.load(reply)["data"]["accessor"])


def _in_form(body: Any) -> Any:
    """Return a valid *body* with its names, paths and labels in the form that no pattern can state."""
    if isinstance(body, list):
        return [_in_form(item) for item in body]
    if not isinstance(body, dict):
        return body
    found = {key: _in_form(value) for key, value in body.items()}
    for key in ("name", "admin", "name_prefix"):
        if isinstance(found.get(key), str):
            flaw_of = prefix_flaw if key == "name_prefix" else name_flaw
            found[key] = found[key] if not flaw_of(found[key]) else _plain(found[key])
    if isinstance(found.get("max_bytes"), int):
        # The limit is a setting.
        found["max_bytes"] = min(found["max_bytes"], 65_536)
    if isinstance(found.get("paths"), list):
        found["paths"] = [path if not path_flaw(path) else _plain(path) for path in found["paths"]]
    if isinstance(found.get("labels"), dict):
        found["labels"] = {
            key if not key_flaw(key) else _plain(key): text if not text_flaw(text) else _plain(text)
            for key, text in found["labels"].items()
        }
    return found


def _alone(body: Any) -> Any:
    """Return a valid *body* without a second head of a stream, or a second form of a reference."""
    if isinstance(body, dict) and isinstance(made := body.get("checkpoint"), dict):
        made["heads"] = list({head["stream"]: head for head in made["heads"]}.values())
    if isinstance(body, dict) and isinstance(secret := body.get("secret"), dict):
        # Null is absent.
        body["secret"] = dict([item for item in secret.items() if item[1] is not None][:1])
    return body


def _plain(text: str) -> str:
    """Return a text in the form of names and labels, another one for each *text*."""
    return f"x{sha256(text.encode(errors='surrogatepass')).hexdigest()}"


def _parts(shape: Any) -> Iterator[dict[str, Any]]:
    """Yield *shape* and every object in it."""
    if isinstance(shape, dict):
        yield shape
    for below in shape.values() if isinstance(shape, dict) else shape if isinstance(shape, list) else ():
        yield from _parts(below)


@schemathesis.check
def refusals_tell_no_secret(
    _ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case
) -> None:
    """Check that no refusal quotes the secret, and that each response has a request ID and `no-store`."""
    secret = case.body.get("secret") if isinstance(case.body, dict) else None
    if response.status_code != 200 and isinstance(secret, str) and len(secret) >= _SOME:
        _require(secret not in response.content.decode(), "a refusal quotes the secret")
    _require("x-request-id" in response.headers, "the response has no request ID")
    if case.path.startswith(("/vault/", "/v1/")):
        _require(response.headers.get("cache-control") == ["no-store"], "the response allows caching")


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)

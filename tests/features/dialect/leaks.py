"""Requests in Vault's dialect with marked secrets, credentials and keys."""

import json
import secrets
from typing import TYPE_CHECKING, Any

from tests.support.issuer import UNPUBLISHED_KEY, marked
from tests.support.leaks import LABEL, NAME, OTHER_VALUE, PASSWORD, VALUE, Output, b64

if TYPE_CHECKING:
    from tests.system.leaks_world import Send, World


class Dialect:
    """Requests in Vault's dialect, whose replies are kept with the marks that they may contain."""

    def __init__(self, world: "World", send: "Send") -> None:
        self.world = world
        self._send = send

    def __call__(
        self,
        request: str,
        body: object = None,
        *,
        token: str | None = None,
        may_hold: str = "",
        **headers: str,
    ) -> tuple[int, Any]:
        """Send *request*, a method and a path, as the administrator unless another *token* is given."""
        method, _, path = request.partition(" ")
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        credential = self.world.tokens["admin"] if token is None else token
        sent = {"X-Vault-Token": credential, **{key.replace("_", "-"): text for key, text in headers.items()}}
        status, text = self._send(method, f"/v1/{path}", data, sent)
        self.world.sent("POST" if method == "PUT" else method, f"/v1/{path}", body)
        may = frozenset(filter(None, may_hold.split(", ")))
        self.world.outputs.append(Output(f"{status} of {path.replace(NAME, 'NAME')}", text, may))
        content = text.partition("\n\n")[2]
        return status, json.loads(content) if content.strip() else None

    def wrapping_token(self, request: str, body: object = None) -> str:
        """Return a wrapping token for the reply to *request*."""
        status, reply = self(request, body, may_hold="wrapping token, name", X_Vault_Wrap_TTL="60")
        assert status == 200, reply
        token = str(reply["wrap_info"]["token"])
        self.world.marks.add("wrapping token", token)
        return token


def speak_dialect(world: "World", send: "Send") -> None:
    """Send every operation of Vault's dialect, with marks in every possible place."""
    ask, admin = Dialect(world, send), world.tokens["admin"]
    name = f"{NAME}/{secrets.token_hex(4)}"
    value = {"password": VALUE.decode(), "other": b64(OTHER_VALUE)}
    nothing, revoked = world.tokens["nothing"], world.tokens["revoked"]
    credentials = ("", "x", f"{admin}x", nothing, revoked, marked(world.marks, scope=""))
    data, metadata = f"secret/data/{name}", f"secret/metadata/{name}"
    assert ask(f"POST {data}", {"data": value})[0] == 200
    assert ask(f"PUT {data}", {"data": value, "options": {"cas": 7}})[0] == 400
    patch = {"Content_Type": "application/merge-patch+json"}
    assert ask(f"PATCH {data}", {"data": {"more": VALUE.decode()}}, **patch)[0] == 200
    assert ask(f"PATCH {data}", {"data": {"more": None}, "options": {"cas": 2}}, **patch)[0] == 200
    rules = {"custom_metadata": {"mark": LABEL}, "max_versions": 9, "delete_version_after": "0s"}
    rules |= {"cas_required": False, "metadata_cas_required": False}
    assert ask(f"PUT {metadata}", rules)[0] == 204
    assert ask(f"PATCH {metadata}", rules, **patch)[0] == 204
    for method, headers in (("PUT", {}), ("PATCH", patch)):
        assert ask(f"{method} {metadata}", rules | {"metadata_cas": 99}, **headers)[0] == 400
    assert ask(f"GET {data}", may_hold="value, other_value, label")[0] == 200
    assert ask(f"GET {metadata}", may_hold="label")[0] == 200
    assert ask(f"GET secret/subkeys/{name}", may_hold="label")[0] == 200
    assert ask("LIST secret/metadata/billing", may_hold="name")[0] == 200
    for body in (
        b64(VALUE).encode(),
        VALUE,
        {"data": VALUE.decode()},
        {"data": value, "options": VALUE.decode()},
    ):
        assert ask(f"POST {data}", body)[0] == 400
    for request in (
        f"GET {data}",
        f"POST {data}",
        f"LIST {metadata}",
        "POST auth/token/create",
        "GET nothing/x",
    ):
        for token in credentials:
            assert ask(request, {"data": value}, token=token)[0] == 403
    assert ask(f"GET kv/data/{name}", may_hold="name")[0] == 404
    assert ask(f"GET secret//data/{name}", may_hold="name")[0] == 307
    token = ask.wrapping_token(f"GET {data}")
    assert ask("POST sys/wrapping/lookup", {"token": token}, may_hold="name")[0] == 200
    assert ask("POST sys/wrapping/unwrap", token=token, may_hold="value, other_value, label")[0] == 200
    assert ask("POST sys/wrapping/unwrap", {"token": token})[0] == 400
    stolen = ask.wrapping_token("POST sys/wrapping/wrap", value)
    for _ in range(2):
        assert ask(f"GET {data}", token=stolen)[0] == 403
    _, login = ask(
        "POST auth/approle/login", {"role_id": "admin", "secret_id": admin}, may_hold="token of admin"
    )
    assert (
        ask("GET auth/token/lookup-self", token=login["auth"]["client_token"], may_hold="token of admin")[0]
        == 200
    )
    assert ask("POST auth/approle/login", {"role_id": "other", "secret_id": admin})[0] == 400
    jwt = marked(world.marks, scope="secret:fetch")
    status, login = ask("POST auth/jwt/login", {"jwt": jwt}, token="", may_hold="JWT")
    assert status == 200, login
    assert ask("GET auth/token/lookup-self", token=login["auth"]["client_token"], may_hold="JWT")[0] == 200
    assert (
        ask("POST auth/jwt/login", {"jwt": marked(world.marks, key=UNPUBLISHED_KEY), "role": PASSWORD})[0]
        == 400
    )
    assert ask("POST auth/token/renew-self", {"increment": "1h"}, may_hold="token of admin")[0] == 200
    speak_of_tokens(world, ask)
    assert ask("POST sys/capabilities-self", {"paths": [data]}, may_hold="name")[0] == 200
    assert ask(f"GET sys/internal/ui/mounts/{data}")[0] == 200
    assert ask(f"POST secret/delete/{name}", {"versions": [1]})[0] == 204
    assert ask(f"POST secret/undelete/{name}", {"versions": [1]})[0] == 204
    assert ask(f"POST secret/destroy/{name}", {"versions": [1]})[0] == 204
    assert ask(f"DELETE {data}")[0] == 204
    assert ask(f"GET {data}", may_hold="label")[0] == 404
    assert ask(f"DELETE {metadata}")[0] == 204


def speak_of_tokens(world: "World", ask: Dialect) -> None:
    """Create, look up, renew and revoke tokens of Vault's dialect, with marks in every possible place."""
    new = {"policies": ["reader"], "ttl": "1h", "meta": {"mark": PASSWORD}, "display_name": "made"}
    new |= {"renewable": True, "explicit_max_ttl": "1h"}
    _, created = ask("POST auth/token/create", new, may_hold="new token")
    made = created["auth"]["client_token"]
    world.marks.add("new token", made)
    for operation in ("create", "create-orphan"):
        orphan = {**new, "policies": ["reader"], "period": "1h", "no_parent": True}
        status, reply = ask(f"POST auth/token/{operation}", orphan, may_hold="new token")
        assert status == 200, reply
        world.marks.add("new token", reply["auth"]["client_token"])
        revoked = {"token": reply["auth"]["client_token"]}
        assert ask("POST auth/token/revoke", revoked, may_hold="new token")[0] == 204
    accessor = {"accessor": created["auth"]["accessor"], "increment": "1h"}
    for operation in ("lookup", "renew"):
        for token in (made, PASSWORD, [made]):
            expected = 200 if token == made else 403 if operation == "lookup" else 400
            asked = ask(
                f"POST auth/token/{operation}", {"token": token, "increment": "1h"}, may_hold="new token"
            )[0]
            assert asked == expected
        assert ask(f"POST auth/token/{operation}-accessor", accessor)[0] == 200
        assert ask(f"POST auth/token/{operation}-accessor", {"accessor": made})[0] == 400
    assert ask("LIST auth/token/accessors")[0] == 200
    assert ask("POST auth/token/revoke-orphan", {"token": PASSWORD})[0] == 400
    assert ask("POST auth/token/revoke-accessor", {"accessor": made})[0] == 200
    assert ask("POST auth/token/revoke-self", token=created["auth"]["client_token"])[0] == 204
    assert ask("POST auth/token/create", {**new, "policies": [PASSWORD]})[0] == 400

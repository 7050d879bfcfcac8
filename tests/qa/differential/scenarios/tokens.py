"""Scenarios of tokens and logins."""

from tests.qa.differential.scenarios.calls import NOTHING, Scenario, each, get, listing, post, put

#: The path of tokens.
_TOKEN = "auth/token"


TOKENS = (
    Scenario(
        "lookup",
        "A token can look itself up.",
        (
            *(get("auth/token/lookup-self", caller=caller) for caller in ("admin", "team", "reader")),
            post("auth/token/lookup-self", {}, caller="team"),
            post("auth/token/lookup-self", caller="team"),
        ),
    ),
    Scenario(
        "renewal",
        "A renewable token can renew itself; an endless one cannot.",
        (
            post("auth/token/renew-self", {}),
            post("auth/token/renew-self", {"increment": "1h"}),
            *(
                post("auth/token/renew-self", body, caller="http")
                for body in (
                    NOTHING,
                    {},
                    {"increment": "10m"},
                    {"increment": 600},
                    {"increment": "x"},
                    {"increment": "-1h"},
                    {"increment": "1h"},
                    b"{",
                )
            ),
            put("auth/token/renew-self", {}, caller="http"),
            get("auth/token/lookup-self", caller="http"),
            get("auth/token/renew-self", caller="http"),
        ),
    ),
    Scenario(
        "creation",
        "An administrator can create tokens, which work until they are revoked.",
        (
            post("auth/token/create", {"ttl": "1h"}, keep="new"),
            get("auth/token/lookup-self", caller="new"),
            post("secret/data/~/a", {"data": {"k": 1}}, caller="new"),
            post("auth/token/revoke-self", {}, caller="new"),
            get("auth/token/lookup-self", caller="new"),
            post("auth/token/revoke-self", {}, caller="new"),
            put("auth/token/create", {"ttl": 3600, "renewable": False}, keep="fixed"),
            post("auth/token/renew-self", {}, caller="fixed"),
            put("auth/token/revoke-self", caller="fixed"),
            *each(lambda body: post("auth/token/create", body), ({"ttl": "x"}, {"ttl": "-1s"}, b"{", [1])),
            post("auth/token/create", {}, caller="reader"),
            post("auth/token/create", {}, caller="anonymous"),
            post("auth/token/create", {}, caller="wrong"),
            get("auth/token/revoke-self"),
        ),
    ),
    Scenario(
        "tokens of others",
        "An administrator looks up, renews and revokes tokens by their text or accessor.",
        (
            post(f"{_TOKEN}/create", {"ttl": "1h"}, keep="new"),
            *each(
                lambda body: post(f"{_TOKEN}/lookup", body),
                ({"token": "{new}"}, {}, {"token": "nope"}, {"token": "{new}", "zz": 1}),
            ),
            get(f"{_TOKEN}/lookup"),
            *each(
                lambda body: post(f"{_TOKEN}/renew", body),
                ({"token": "{new}"}, {}, {"token": "nope"}, {"token": "{new}", "zz": 1}),
            ),
            *(
                post(f"{_TOKEN}/{operation}-accessor", body)
                for operation in ("lookup", "renew")
                for body in ({"accessor": "{new_accessor}"}, {"accessor": "nope"}, {})
            ),
            *(
                post(f"{_TOKEN}/{operation}", {"token": "{new}"}, caller=caller)
                for operation in ("lookup", "renew", "revoke", "revoke-orphan")
                for caller in ("reader", "anonymous", "wrong")
            ),
            listing(f"{_TOKEN}/accessors", caller="reader"),
            put(f"{_TOKEN}/revoke-accessor", {"accessor": "{new_accessor}"}),
            *each(
                lambda body: post(f"{_TOKEN}/revoke-accessor", body),
                ({"accessor": "{new_accessor}"}, {"accessor": "nope"}, {}),
            ),
            post(f"{_TOKEN}/lookup", {"token": "{new}"}),
            post(f"{_TOKEN}/renew", {"token": "{new}"}),
            *each(lambda body: post(f"{_TOKEN}/revoke", body), ({"token": "{new}"}, {"token": "nope"}, {})),
            *each(lambda body: post(f"{_TOKEN}/revoke-orphan", body), ({"token": "{new}"}, {})),
        ),
    ),
    Scenario(
        "families",
        "A revocation ends the tokens below a token, except orphans.",
        (
            post(f"{_TOKEN}/create", {"ttl": "1h"}, keep="parent"),
            post(f"{_TOKEN}/create", {"ttl": "30m"}, caller="parent", keep="child"),
            post(f"{_TOKEN}/create", {"ttl": "30m"}, caller="child", keep="grandchild"),
            post(f"{_TOKEN}/create", {"ttl": "30m", "no_parent": True}, caller="parent", keep="orphan"),
            post(f"{_TOKEN}/create-orphan", {"ttl": "30m"}, caller="parent", keep="second"),
            post(f"{_TOKEN}/create-orphan", {"ttl": "30m"}, caller="reader"),
            post(f"{_TOKEN}/revoke-self", {}, caller="parent"),
            *(
                post(f"{_TOKEN}/lookup", {"token": f"{{{name}}}"})
                for name in ("parent", "child", "grandchild", "orphan", "second")
            ),
            post(f"{_TOKEN}/create", {"ttl": "1h"}, keep="next"),
            post(f"{_TOKEN}/create", {"ttl": "30m"}, caller="next", keep="young"),
            post(f"{_TOKEN}/revoke-orphan", {"token": "{next}"}),
            post(f"{_TOKEN}/lookup", {"token": "{young}"}),
        ),
    ),
    Scenario(
        "limited creators",
        "A caller with few rights creates tokens that read what it reads, and no orphans.",
        (
            post("secret/data/~/a", {"data": {"k": 1}}),
            *(
                call
                for number, body in enumerate(({"ttl": "30m"}, {"ttl": "30m", "renewable": False}))
                for call in (
                    post(f"{_TOKEN}/create", body, caller="manager", keep=f"made{number}"),
                    get("secret/data/~/a", caller=f"made{number}"),
                )
            ),
            post(f"{_TOKEN}/create", {"ttl": "30m", "no_parent": True}, caller="manager"),
            post(f"{_TOKEN}/create-orphan", {"ttl": "30m"}, caller="manager"),
        ),
    ),
    Scenario(
        "periods",
        "A period takes the place of the lifetime, and a longest age limits both.",
        (
            *(
                call
                for number, body in enumerate(
                    (
                        {"period": "30m"},
                        {"period": "30m", "ttl": "1h", "explicit_max_ttl": "2h"},
                        {"period": "30m", "renewable": False},
                        {"period": 1_800, "explicit_max_ttl": 600},
                        {"ttl": "90m", "explicit_max_ttl": "61m"},
                        {"ttl": "1h", "zz": 1, "aa": 2},
                    )
                )
                for call in (
                    post(f"{_TOKEN}/create", body, keep=f"new{number}"),
                    post(f"{_TOKEN}/lookup", {"token": f"{{new{number}}}"}),
                    post(f"{_TOKEN}/renew", {"token": f"{{new{number}}}", "increment": "20m"}),
                )
            ),
            *each(lambda body: post(f"{_TOKEN}/create", body), ({"period": "x"}, {"period": "-1"})),
        ),
    ),
    Scenario(
        "approle",
        "A token's name and the token are a role and its secret.",
        (
            post(
                "auth/approle/login",
                {"role_id": "{role_id}", "secret_id": "{secret_id}"},
                caller="anonymous",
                keep="app",
            ),
            get("auth/token/lookup-self", caller="app"),
            listing("secret/metadata/~", caller="app"),
            post("secret/data/~/a", {"data": {}}, caller="app"),
            put("auth/approle/login", {"role_id": "{role_id}", "secret_id": "{secret_id}"}, caller="wrong"),
            *(
                post("auth/approle/login", body, caller="anonymous")
                for body in (
                    {"role_id": "{role_id}", "secret_id": "wrong"},
                    {"role_id": "wrong", "secret_id": "{secret_id}"},
                    {"role_id": "{role_id}"},
                    {"secret_id": "{secret_id}"},
                    {"role_id": "", "secret_id": ""},
                    {"role_id": 1, "secret_id": 2},
                    {"role_id": [1], "secret_id": {}},
                    {"role_id": "{role_id}", "secret_id": "{secret_id}", "unknown": 1},
                    {},
                    NOTHING,
                    b"{",
                )
            ),
            get("auth/approle/login", caller="anonymous"),
            # External Secrets Operator does so after each use.
            put("auth/token/revoke-self", caller="app"),
            get("auth/token/lookup-self", caller="app"),
            post(
                "auth/approle/login",
                {"role_id": "{role_id}", "secret_id": "{secret_id}"},
                caller="anonymous",
                keep="app",
            ),
            get("auth/token/lookup-self", caller="app"),
        ),
    ),
    Scenario(
        "jwt",
        "A JWT logs in with a role.",
        (
            post("auth/jwt/login", {"role": "ci", "jwt": "{jwt}"}, caller="anonymous", keep="job"),
            get("auth/token/lookup-self", caller="job"),
            listing("secret/metadata/~", caller="job"),
            post("secret/data/~/a", {"data": {}}, caller="job"),
            *(
                post("auth/jwt/login", body, caller="anonymous")
                for body in (
                    {"role": "nope", "jwt": "{jwt}"},
                    {"jwt": "{jwt}"},
                    {"role": "ci"},
                    {"role": "ci", "jwt": "x"},
                    {"role": "ci", "jwt": "a.b.c"},
                    {"role": "ci", "jwt": "{other_claim}"},
                    {"role": "ci", "jwt": "{other_audience}"},
                    {"role": "ci", "jwt": "{other_issuer}"},
                    {"role": "ci", "jwt": "{expired}"},
                    {"role": "ci", "jwt": "{other_key}"},
                    # White space in it, as files have.
                    {"role": "ci", "jwt": "{jwt}\n"},
                    {"role": "ci", "jwt": " \t{jwt}\r\n"},
                    {"role": "ci", "jwt": "{broken_jwt}"},
                    {"role": "ci", "jwt": "\n"},
                    {"role": "ci\n", "jwt": "{jwt}"},
                    {},
                    NOTHING,
                    b"{",
                )
            ),
            get("auth/jwt/login", caller="anonymous"),
        ),
    ),
)

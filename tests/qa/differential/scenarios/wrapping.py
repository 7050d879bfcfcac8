"""Scenarios of wrapped replies."""

from tests.qa.differential.scenarios.calls import (
    NOTHING,
    WRAP,
    Scenario,
    delete,
    each,
    get,
    listing,
    post,
    put,
    write,
)

_UNWRAP = "sys/wrapping/unwrap"


WRAPPING = (
    Scenario(
        "wrapping",
        "A wrapped reply is read once, with its token in the header or the body.",
        (
            write("a", k="v"),
            get("secret/data/~/a", headers=WRAP, keep="one"),
            post("sys/wrapping/lookup", {"token": "{one}"}, caller="anonymous"),
            post("sys/wrapping/lookup", {"token": "{one}"}),
            post(_UNWRAP, caller="one"),
            post(_UNWRAP, caller="one"),
            post(_UNWRAP, {"token": "{one}"}),
            post("sys/wrapping/lookup", {"token": "{one}"}),
            get("secret/data/~/a", headers=WRAP, keep="two"),
            put(_UNWRAP, {"token": "{two}"}),
            get("secret/data/~/a", headers=WRAP, keep="three"),
            post(_UNWRAP, {"token": "{three}"}, caller="anonymous"),
            get("secret/data/~/a", headers=WRAP, keep="four"),
            post(_UNWRAP, {"token": "{four}"}, caller="wrong"),
            post(_UNWRAP, b"null", caller="four"),
            get("secret/data/~/a", headers=WRAP, keep="five"),
            post(_UNWRAP, {"token": "{five}"}, caller="team"),
        ),
    ),
    Scenario(
        "wrapping again",
        "An unwrapped reply can be wrapped again; a look-up is answered as it is.",
        (
            post("sys/wrapping/wrap", {"a": 1}, headers=WRAP, keep="first"),
            post("sys/wrapping/lookup", {"token": "{first}"}, headers=WRAP, caller="anonymous"),
            post(_UNWRAP, headers={"X-Vault-Wrap-TTL": "24h"}, caller="first", keep="second"),
            post(_UNWRAP, caller="second"),
            post("sys/wrapping/wrap", {"a": 1}, headers=WRAP, keep="third"),
            post(_UNWRAP, {"token": "{third}"}, headers={"X-Vault-Wrap-TTL": "30s"}, keep="fourth"),
            post(_UNWRAP, headers=WRAP, caller="third"),
            post(_UNWRAP, {"token": "{fourth}"}),
        ),
    ),
    Scenario(
        "wrapping ends",
        "A wrapped value ends with its secret; a reply without a value stays.",
        (
            write("a", k="v"),
            get("secret/data/~/a", headers=WRAP, keep="value"),
            get("secret/metadata/~/a", headers=WRAP, keep="metadata"),
            delete("secret/data/~/a"),
            post(_UNWRAP, caller="value"),
            post(_UNWRAP, caller="metadata"),
        ),
    ),
    Scenario(
        "wrapping elsewhere",
        "A wrapping token on another path is denied, and spent.",
        (
            write("a", k="v"),
            get("secret/data/~/a", headers=WRAP, keep="one"),
            get("secret/data/~/a", caller="one"),
            post(_UNWRAP, caller="one"),
            get("secret/data/~/a", headers=WRAP, keep="two"),
            get("auth/token/lookup-self", caller="two"),
            post(_UNWRAP, caller="two"),
        ),
    ),
    Scenario(
        "wrapping replies",
        "Any reply with a body can be wrapped; errors and empty replies are not.",
        (
            post("secret/data/~/a", {"data": {"k": 2}}, headers=WRAP, keep="write"),
            post(_UNWRAP, caller="write"),
            listing("secret/metadata/~", headers=WRAP, keep="list"),
            post(_UNWRAP, caller="list"),
            get("auth/token/lookup-self", headers=WRAP, keep="lookup"),
            post(_UNWRAP, caller="lookup"),
            get("secret/metadata/~/a", headers=WRAP, keep="metadata"),
            post(_UNWRAP, caller="metadata"),
            post(
                "auth/approle/login",
                {"role_id": "{role_id}", "secret_id": "{secret_id}"},
                headers=WRAP,
                caller="anonymous",
                keep="login",
            ),
            post(_UNWRAP, caller="login"),
            get("secret/data/~/missing", headers=WRAP),
            delete("secret/data/~/missing", headers=WRAP),
            post("secret/data/~/a", {}, headers=WRAP),
            post("secret/metadata/~/a", {"custom_metadata": {"a": "b"}}, headers=WRAP),
            get("secret/data/~/a", headers=WRAP, caller="wrong"),
            get("sys/health", headers=WRAP),
        ),
    ),
    Scenario(
        "wrapping times",
        "The life of a wrapping is a number of seconds or a duration.",
        (
            write("a", k="v"),
            *(
                get("secret/data/~/a", headers={"X-Vault-Wrap-TTL": text})
                for text in ("60", "60s", "1m", "1h", "90m", "1d", "0", "", "-1", "x", "1.5", "1h30m")
            ),
        ),
    ),
    Scenario(
        "wrapping values",
        "Any object can be wrapped.",
        (
            *(
                call
                for number, body in enumerate(
                    ({"a": 1, "n": {"x": [1]}}, {}, NOTHING, None, {"big": 9007199254740993})
                )
                for call in (
                    post("sys/wrapping/wrap", body, headers=WRAP, keep=f"w{number}"),
                    post(_UNWRAP, {}, caller=f"w{number}"),
                )
            ),
            *each(lambda body: post("sys/wrapping/wrap", body, headers=WRAP), ([1], b"{")),
            post("sys/wrapping/wrap", {"a": 1}),
            post("sys/wrapping/wrap", {"a": 1}, headers=WRAP, caller="anonymous"),
            post("sys/wrapping/wrap", {"a": 1}, headers=WRAP, caller="team", keep="theirs"),
            post("sys/wrapping/lookup", {"token": "{theirs}"}, caller="anonymous"),
            post(_UNWRAP, {"token": "{theirs}"}, caller="reader"),
            get("sys/wrapping/wrap"),
        ),
    ),
    Scenario(
        "no wrapping",
        "What is not a wrapping token unwraps nothing.",
        (
            *(
                post(_UNWRAP, body)
                for body in (NOTHING, {}, {"token": "no"}, {"token": 5}, {"token": "{admin}"}, b"{")
            ),
            *(post(_UNWRAP, caller=caller) for caller in ("anonymous", "wrong", "team")),
            *(
                post("sys/wrapping/lookup", body, caller=caller)
                for body in ({"token": "no"}, {})
                for caller in ("admin", "anonymous")
            ),
            get(_UNWRAP),
        ),
    ),
)

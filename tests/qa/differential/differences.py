"""The accepted differences between OpenBao and this service. `docs/vault-api.md` lists them, too."""

from typing import NamedTuple


class Difference(NamedTuple):
    """A difference: a row of the document's table, its reason, and where programs meet it."""

    request: str
    #: The two answers.
    there: str
    here: str
    reason: str
    #: By program: the places of an observation at which the two differ, and the steps with exactly these.
    steps: dict[str, dict[str, tuple[str, ...]]]


ACCEPTED: tuple[Difference, ...] = (
    Difference(
        "a name that is [refused](#names)",
        "200, 400 or 500",
        "400 for a write or with a token in it, otherwise 404",
        "a name has one form in all APIs: it is also part of paths of tokens, of URLs and of commands",
        {
            "http: refused names": {
                "status:200-400": (
                    'POST secret/data/~/a%20 {"data": {"k": 1}}',
                    'POST secret/data/~/u%CC%88 {"data": {"k": 1}}',
                ),
                "status:200-404": (
                    "GET secret/data/~/a%20",
                    "GET secret/data/~/u%CC%88",
                    "LIST secret/metadata/~",
                ),
                "status:400-404": ("GET secret/data/~/a%00b",),
                "status:500-400": ('POST secret/data/~/a%FF {"data": {"k": 1}}',),
                "body body.errors headers headers.Cache-Control headers.Content-Type": (
                    'POST secret/data/~/a%00b {"data": {"k": 1}}',
                ),
            },
        },
    ),
    Difference(
        "`custom_metadata` with a key that no [label](api.md) can have, `max_versions` below 0",
        "204",
        "400",
        "they are the labels of the secret, in all APIs; a negative number is an error of the client",
        {
            "http: keys of labels": {
                "status:204-400": (
                    'POST secret/metadata/~/0 {"custom_metadata": {"a=b": "x"}}',
                    'POST secret/metadata/~/1 {"custom_metadata": {" a": "x"}}',
                    'POST secret/metadata/~/2 {"custom_metadata": {"u\\u0308": "x"}}',
                    'POST secret/metadata/~/3 {"custom_metadata": {"\\u3164": "x"}}',
                ),
                "body.data.current_metadata_version body.data.custom_metadata": (
                    "GET secret/metadata/~/0",
                    "GET secret/metadata/~/1",
                    "GET secret/metadata/~/2",
                    "GET secret/metadata/~/3",
                ),
            },
            "http: metadata bodies": {
                "status:204-400": ('POST secret/metadata/~/26 {"max_versions": -1}',),
                "body.data.current_metadata_version body.data.max_versions": ("GET secret/metadata/~/26",),
            },
        },
    ),
    Difference(
        "`custom_metadata` with an empty value",
        "400",
        "204",
        "a label can be empty",
        {
            "http: metadata bodies": {
                "status:400-204": ('POST secret/metadata/~/4 {"custom_metadata": {"a": ""}}',),
                "body.data.current_metadata_version body.data.custom_metadata": ("GET secret/metadata/~/4",),
            },
        },
    ),
    Difference(
        "JSON with a duplicate key, text after the object, or invalid Unicode",
        "200: the last key, the first object, replaced characters",
        "400",
        "the service stores what the client sent, or nothing",
        {
            "http: bodies": {
                "status:200-400": (
                    'POST secret/data/~/18 {"data":{"a":1}}{"data":{"a":2}}',
                    'POST secret/data/~/22 {"data":{"a":1,"a":2}}',
                    'POST secret/data/~/23 {"data":{"a":1},"data":{"b":2}}',
                    'POST secret/data/~/25 {"data":{"a":"\\xff"}}',
                    'POST secret/data/~/26 {"data":{"a":"\\ud800"}}',
                ),
                "status:200-404": (
                    "GET secret/data/~/18",
                    "GET secret/data/~/22",
                    "GET secret/data/~/23",
                    "GET secret/data/~/25",
                    "GET secret/data/~/26",
                ),
            },
        },
    ),
    Difference(
        "`secret/config`",
        "can be written, and has `max_versions` 0",
        "405 for a write; `max_versions` is the setting",
        "it belongs to the operator",
        {
            "http: config": {
                "body.data.max_versions": ("GET secret/config",),
                "status:204-405": ("POST secret/config {}",),
            },
            "http: outside": {
                "body.data.max_versions": ("GET secret/config as team",),
            },
            "http: reader": {
                "body.data.max_versions": ("GET secret/config as reader",),
            },
            "hvac: lists_and_metadata": {
                "data.max_versions": ("read_configuration()",),
            },
            "hvac: settings_of_versions": {
                "status:204-UnexpectedError": (
                    "configure(max_versions=10, cas_required=False, delete_version_after=0s)",
                    "configure(max_versions=0)",
                ),
                "data.max_versions": ("read_configuration()",),
            },
        },
    ),
    Difference(
        "`delete_version_after` with a fraction of a second",
        "exact",
        "rounded up",
        "0 stands for never",
        {"http: settings": {"body.data.delete_version_after": ("GET secret/metadata/~/d",)}},
    ),
    Difference(
        (
            "a login without `role_id`, a patch of the value null, a label with a number in a patch, a "
            "read with a trailing slash"
        ),
        "500",
        "400, or the result",
        "a request never causes a 500",
        {
            "http: metadata patch": {
                "status:500-204": ('PATCH secret/metadata/~/2 {"custom_metadata": {"a": 4}}',),
                "body.data.current_metadata_version body.data.custom_metadata": ("GET secret/metadata/~/2",),
            },
            "http: patch null": {
                "status:500-200": ('PATCH secret/data/~/a {"data": {"b": 1}}',),
            },
            "http: clean paths": {
                "status:500-200": ("GET secret/data/~/a/",),
            },
            "http: approle": {
                "status:500-400": (
                    'POST auth/approle/login {"secret_id": "{secret_id}"} as anonymous',
                    'POST auth/approle/login {"role_id": "", "secret_id": ""} as anonymous',
                    'POST auth/approle/login {"role_id": [1], "secret_id": {}} as anonymous',
                    "POST auth/approle/login {} as anonymous",
                    "POST auth/approle/login as anonymous",
                ),
                "status:500-403": ("GET auth/approle/login as anonymous",),
            },
        },
    ),
    Difference(
        "a patch of metadata that changes nothing",
        "keeps `current_metadata_version`",
        "increases it",
        "it has an audit entry, like any patch",
        {
            "http: metadata patch": {
                "body.data.current_metadata_version": (
                    "GET secret/metadata/~/12",
                    "GET secret/metadata/~/13",
                    "GET secret/metadata/~/14",
                ),
            },
        },
    ),
    Difference(
        "a body with a `Content-Encoding`",
        "400",
        "415",
        "the status that HTTP has for it",
        {
            "http: content types": {
                "status:400-415": ("POST secret/data/~/a \x1f\\x8b Content-Encoding: gzip",),
            },
        },
    ),
    Difference(
        "an unknown field or query, except below `auth/token/`",
        "ignored, with a warning",
        "ignored",
        "clients of other versions send them",
        {
            "http: versions": {
                "body.warnings": ("GET secret/data/~/a?unknown=1",),
            },
            "http: bodies": {
                "body.warnings": ('POST secret/data/~/13 {"data": {"k": "v"}, "unknown": 2}',),
            },
            "http: subkeys": {
                "body.warnings": ("GET secret/subkeys/~/a?unknown=1",),
            },
            "http: patch": {
                "body.warnings": ('PATCH secret/data/~/a {"data": {"r": 1}, "options": {}, "unkno',),
            },
            "http: pages": {
                "body.warnings": ("LIST secret/metadata/~/?unknown=1",),
            },
        },
    ),
    Difference(
        (
            "the query `version` twice, `secret/config/`, `bearer` in lower case, "
            "`sys/capabilities-self` of an empty path, a JWT login without `role` if exactly one matches"
        ),
        "400, 403 or 404",
        "the result",
        "as in the REST API and in HTTP",
        {
            "http: versions": {
                "status:400-200": ("GET secret/data/~/a?version=1&version=2",),
            },
            "http: config": {
                "status:404-200": ("GET secret/config/",),
            },
            "http: headers": {
                "status:403-200": ("GET secret/data/~/a Authorization: bearer {admin} as anonymous",),
            },
            "http: capabilities": {
                "status:400-200": ('POST sys/capabilities-self {"paths": [""]}',),
            },
            "http: jwt": {
                "status:400-200": ('POST auth/jwt/login {"jwt": "{jwt}"} as anonymous',),
            },
        },
    ),
    Difference(
        "a method that a path of `sys/` or `auth/` lacks",
        "405",
        "404, or 403 without all rights",
        "the same as for an unknown path",
        {
            "http: methods": {
                "status:405-404": (
                    "PUT sys/seal-status {}",
                    "POST sys/health {}",
                ),
            },
            "http: mounts": {
                "status:405-404": ("POST sys/mounts {}",),
            },
            "http: capabilities": {
                "status:405-404": ("GET sys/capabilities-self",),
            },
            "http: creation": {
                "status:405-404": ("GET auth/token/revoke-self",),
            },
            "http: jwt": {
                "status:405-403": ("GET auth/jwt/login as anonymous",),
            },
            "http: wrapping values": {
                "status:405-404": ("GET sys/wrapping/wrap",),
            },
            "http: no wrapping": {
                "status:400-404": ("GET sys/wrapping/unwrap",),
            },
        },
    ),
    Difference(
        "`sys/capabilities-self` of more than 100 paths",
        "200",
        "400",
        "a short question would have a long reply",
        {
            "http: capabilities": {
                # The beginning of the step.
                "status:200-400": ('POST sys/capabilities-self {"paths": ["nope", "nope", "nope", "nope',),
            },
        },
    ),
    Difference(
        "`OPTIONS`",
        "400 or 405",
        "204",
        "browsers send it, see `CORS_ORIGINS`",
        {
            "http: methods": {
                "status:400-204": (
                    "OPTIONS secret/data/~/a",
                    "OPTIONS secret/data/~/missing",
                ),
                "status:405-204": ("OPTIONS sys/health",),
            },
        },
    ),
    Difference(
        "`HEAD` of a secret without a credential",
        "403",
        "405",
        "no secret has this method",
        {
            "http: methods": {
                "status:403-405": ("HEAD secret/data/~/a as anonymous",),
            },
        },
    ),
    Difference(
        "an unknown namespace without a valid credential, a malformed body without the right to write",
        "404, 400",
        "403",
        "only principals learn of namespaces, and the right comes first: it costs less",
        {
            "http: namespaces": {
                "status:404-403": (
                    "GET secret/data/~/a X-Vault-Namespace: nope as wrong",
                    "GET secret/data/~/a X-Vault-Namespace: nope as anonymous",
                ),
            },
            "http: unreadable": {
                "status:400-403": (
                    "POST secret/data/~/a { as anonymous",
                    "POST secret/data/~/a { as wrong",
                    "POST secret/data/~/a { as team",
                ),
            },
        },
    ),
    Difference(
        "`sys/seal-status`, lists of mounts, `creation_path` of a wrapped list, the order of members",
        "OpenBao's values",
        "our own",
        "it is another program, without other mounts; in JSON, the order has no meaning",
        {
            "http: system": {
                "body.commit_date body.storage_type": (
                    "GET sys/seal-status as anonymous",
                    "GET sys/seal-status",
                    "GET sys/seal-status as wrong",
                ),
            },
            "hvac: system": {
                "commit_date storage_type": ("read_seal_status()",),
                "cubbyhole/ data.cubbyhole/ data.identity/ data.sys/ identity/ sys/": ("mounts",),
            },
            "bao: paths": {
                "stdout": ("admin$ status",),
                "stdout.commit_date stdout.storage_type": ("admin$ status -format=json",),
            },
            "http: mounts": {
                (
                    "body.data.auth.approle/ body.data.auth.jwt/ body.data.auth.token/ "
                    "body.data.secret.cubbyhole/ body.data.secret.identity/ body.data.secret.sys/"
                ): (
                    "GET sys/internal/ui/mounts",
                    "GET sys/internal/ui/mounts as team",
                ),
                (
                    "body.cubbyhole/ body.data.cubbyhole/ body.data.identity/ body.data.sys/ "
                    "body.identity/ body.sys/"
                ): ("GET sys/mounts",),
            },
            "http: wrapping replies": {
                "body.wrap_info.creation_path": ("LIST secret/metadata/~ wrapped",),
            },
            "hvac: states_of_versions": {
                "text": ("read_secret_version(hvac/b, raise_on_deleted_version=True)",),
            },
        },
    ),
    Difference(
        "a change of a mount, such as `bao kv enable-versioning`",
        "200",
        "404",
        "mounts are fixed",
        {
            "bao: metadata": {
                "status:0-2": ("admin$ kv enable-versioning secret/",),
            },
        },
    ),
    Difference(
        "a login with an invalid JWT, or one that does not match the role",
        "400 with the reason",
        "400 with one text for all",
        "the reason is in the audit trail only",
        {
            "hvac: logins": {
                "errors text": ("jwt, wrong",),
            },
        },
    ),
    Difference(
        "`revoke-self` with the client token of a login",
        "204, and it is invalid",
        "400, and it stays valid",
        "it is the credential of the login in another form, and ends with that",
        {
            "http: approle": {
                "status:204-400": ("PUT auth/token/revoke-self as app",),
                "status:403-200": ("GET auth/token/lookup-self as app (2)",),
            },
        },
    ),
    Difference(
        "a renewal with an `increment` below the remaining time",
        "reduces the remaining time",
        "keeps it",
        "a renewal never shortens",
        {
            "http: renewal": {
                "body.auth.lease_duration": (
                    'POST auth/token/renew-self {"increment": "10m"} as http',
                    'POST auth/token/renew-self {"increment": 600} as http',
                ),
            },
            "http: periods": {
                "body.auth.lease_duration": (
                    'POST auth/token/renew {"token": "{new4}", "increment": "20m"}',
                    'POST auth/token/renew {"token": "{new5}", "increment": "20m"}',
                ),
            },
            "hvac: tokens": {
                "auth.lease_duration": ("renew_self(increment=30m)",),
            },
            "bao: callers": {
                "stdout.data.ttl": ("bao$ token lookup -format=json",),
            },
        },
    ),
    Difference(
        "a token whose parent was revoked with `revoke-orphan`",
        "becomes an orphan",
        "keeps its creator, and ends with those above it",
        "the creator of a token is sealed",
        {
            "http: families": {
                "body.data.explicit_max_ttl body.data.orphan": (
                    'POST auth/token/lookup {"token": "{young}"}',
                ),
            },
        },
    ),
    Difference(
        "the description of a token, in logins, lookups and renewals",
        "policies; the kind of login or creation; an entity; the last renewal; a capped renewal",
        (
            "scopes; the principal; its creator's end in `explicit_max_ttl`; for a JWT, type `batch` "
            "and no accessor"
        ),
        "tokens have scopes and paths; JWTs can be neither renewed nor revoked",
        {
            "http: families": {
                "body.data.explicit_max_ttl": ('POST auth/token/lookup {"token": "{orphan}"}',),
                "body.data.explicit_max_ttl body.data.path": (
                    'POST auth/token/lookup {"token": "{second}"}',
                ),
            },
            "http: periods": {
                "body.warnings": ('POST auth/token/renew {"token": "{new3}", "increment": "20m"}',),
            },
            "http: approle": {
                "body.data.meta body.data.path": (
                    "GET auth/token/lookup-self as app",
                    "GET auth/token/lookup-self as app (3)",
                ),
                "body.warnings": (
                    'POST auth/approle/login {"role_id": "{role_id}", "secret_id": "{ as anonymous (2)',
                ),
            },
            "http: jwt": {
                "body.auth.accessor body.auth.renewable body.auth.token_type": (
                    'POST auth/jwt/login {"role": "ci", "jwt": "{jwt}"} as anonymous',
                    'POST auth/jwt/login {"role": "ci", "jwt": "{jwt}\\n"} as anonymous',
                    'POST auth/jwt/login {"role": "ci", "jwt": " \\t{jwt}\\r\\n"} as anonymous',
                    'POST auth/jwt/login {"role": "ci", "jwt": "{broken_jwt}"} as anonymous',
                ),
                "body.data.accessor body.data.renewable body.data.type": (
                    "GET auth/token/lookup-self as job",
                ),
            },
            "hvac: logins": {
                "auth.accessor auth.renewable auth.token_type": ("jwt",),
                "data.accessor data.renewable data.type": ("jwt, lookup",),
            },
            "bao: callers": {
                "stdout": (
                    "bao$ token lookup",
                    "bao$ token renew -increment=30m",
                    "admin$ token lookup",
                ),
            },
            "bao: tokens": {
                "stdout": (
                    "made$ token lookup",
                    "admin$ token create -ttl=1h",
                    "admin$ token create -period=30m -orphan",
                    "admin$ token lookup -accessor {accessor}",
                    "admin$ token renew -accessor {accessor}",
                    "admin$ token lookup {other}",
                    "admin$ token renew {other}",
                    "admin$ token lookup {orphan}",
                    "anonymous$ login -no-store {made}",
                    "anonymous$ write auth/approle/login role_id={role_id} secret_id={secret_id}",
                    "anonymous$ write auth/jwt/login role={role} jwt={jwt}",
                ),
            },
        },
    ),
    Difference(
        "a number beyond 2^53 in `sys/wrapping/wrap`",
        "exact",
        "a 64-bit float",
        "as in secrets",
        {
            "http: wrapping values": {
                "body.data.big": ("POST sys/wrapping/unwrap {} as w4",),
            },
        },
    ),
    Difference(
        "`sys/wrapping/unwrap` and `lookup` without a wrapping token",
        "400 or 403, by the way it is missing",
        "400 with a valid credential, 403 without one",
        "one rule for all ways",
        {
            "http: no wrapping": {
                "status:403-400": (
                    'POST sys/wrapping/unwrap {"token": 5}',
                    "POST sys/wrapping/lookup {} as anonymous",
                ),
                "body.errors": ("POST sys/wrapping/unwrap as anonymous",),
                "status:400-403": ("POST sys/wrapping/unwrap as wrong",),
            },
        },
    ),
    Difference(
        "a wrapped value whose secret was deleted or destroyed since",
        "200",
        "400, unless it is restored",
        "nothing that was destroyed can be read",
        {
            "http: wrapping ends": {
                "status:200-400": ("POST sys/wrapping/unwrap as value",),
            },
        },
    ),
    Difference(
        "`sys/wrapping/lookup` with `X-Vault-Wrap-TTL`",
        "200, wrapped",
        "400",
        "anyone who has a wrapping token could store replies without a credential",
        {
            "http: wrapping again": {
                "status:200-400": ('POST sys/wrapping/lookup {"token": "{first}"} wrapped as anonymous',),
            },
        },
    ),
    Difference(
        "`sys/wrapping/unwrap` with a longer `X-Vault-Wrap-TTL` than the reply has left",
        "granted",
        "the remaining time",
        "the caller who wrapped it chose its end",
        {
            "http: wrapping again": {
                "body.wrap_info.ttl": ("POST sys/wrapping/unwrap X-Vault-Wrap-TTL: 24h as first",),
            },
        },
    ),
    Difference(
        "malformed JSON, a value of the wrong type, an invalid label or duration, `GET /v1/`",
        "a text of Go's libraries",
        "another text or none",
        "it is another program",
        {
            "http: routes": {"body.errors": ("GET",)},
            "http: cas": {
                "body.errors": (
                    'POST secret/data/~/a {"options": {"cas": 2.0}, "data": {"k": ',
                    'POST secret/data/~/a {"options": [{"cas": 0}], "data": {"k": ',
                ),
            },
            "http: list": {"body.errors": ("GET secret/metadata/~/?list=x",)},
            "http: system": {
                "body.errors": (
                    "GET sys/health?activecode=x as anonymous",
                    "GET sys/health?activecode=x",
                    "GET sys/health?activecode=x as wrong",
                ),
            },
        },
    ),
)

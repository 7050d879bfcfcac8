"""Scenarios of callers, and of what the service says of itself."""

import json
from collections.abc import Iterable

from tests.qa.differential.scenarios.calls import (
    NOTHING,
    WRAP,
    Call,
    Scenario,
    delete,
    each,
    get,
    listing,
    patch,
    post,
    read,
    write,
)
from tests.support.openbao import TEAM

#: A request of each kind.
_KINDS = (
    get("secret/data/~/a"),
    get("secret/data/~/missing"),
    post("secret/data/~/a", {"data": {"k": 2}}),
    patch("secret/data/~/a", {"data": {"k": 2}}),
    delete("secret/data/~/a"),
    post("secret/undelete/~/a", {"versions": [1]}),
    get("secret/metadata/~/a"),
    post("secret/metadata/~/a", {"custom_metadata": {"a": "b"}}),
    delete("secret/metadata/~/a"),
    listing("secret/metadata/~"),
    listing("secret/metadata/"),
    get("secret/subkeys/~/a"),
    get("secret/foo"),
    get("secret/config"),
    get("nope/x"),
    get("sys/mounts"),
    get("sys/internal/ui/mounts/secret"),
    get("sys/internal/ui/mounts/secret/~/a"),
    get("sys/internal/ui/mounts/nope"),
    get("sys/nope"),
    post("sys/capabilities-self", {"paths": ["secret/data/~/a"]}),
    get("auth/token/lookup-self"),
    post("auth/token/renew-self", {}),
    post("auth/token/create", {}),
    post("sys/wrapping/wrap", {"a": 1}, headers=WRAP),
)


def as_(caller: str, calls: Iterable[Call]) -> tuple[Call, ...]:
    """Return *calls* with another caller."""
    return tuple(call._replace(caller=caller) for call in calls)


def _theirs(call: Call) -> Call:
    """Return *call* below the folder of the team."""
    body = (
        json.loads(json.dumps(call.body).replace("~", f"{TEAM}/~"))
        if isinstance(call.body, dict)
        else call.body
    )
    return call._replace(path=call.path.replace("~", f"{TEAM}/~"), body=body)


CALLERS = (
    Scenario(
        "anonymous",
        "Without a credential, everything is denied in the same words.",
        (write("a", k=1), *as_("anonymous", _KINDS), read("a")),
    ),
    Scenario(
        "wrong",
        "With a wrong credential, everything is denied in the same words.",
        (write("a", k=1), *as_("wrong", _KINDS), read("a")),
    ),
    Scenario(
        "headers",
        "A token comes in either header; the first counts alone.",
        (
            write("a", k=1),
            *(
                get("secret/data/~/a", headers=headers, caller="anonymous")
                for headers in (
                    {"Authorization": "Bearer {admin}"},
                    {"Authorization": "bearer {admin}"},
                    {"Authorization": "Basic cm9vdA=="},
                    {"Authorization": "Bearer wrong"},
                    {"Authorization": "Bearer "},
                    {"X-Vault-Token": "wrong", "Authorization": "Bearer {admin}"},
                    {"X-Vault-Token": "{admin}", "Authorization": "Bearer wrong"},
                    {"X-Vault-Token": "", "Authorization": "Bearer {admin}"},
                    {"X-Vault-Token": ""},
                    {"X-Vault-Token": " {admin} "},
                    {"X-Vault-Token": "\u00fc"},
                    {"X-Vault-Token": "{admin}", "X-Vault-Request": "true"},
                )
            ),
        ),
    ),
    Scenario(
        "namespaces",
        "A namespace that is not the principal's is not found.",
        (
            write("a", k=1),
            *(
                get("secret/data/~/a", headers={"X-Vault-Namespace": name})
                for name in ("nope", "nope/", "a/b", "root", "")
            ),
            post("secret/data/~/a", {"data": {}}, headers={"X-Vault-Namespace": "nope"}),
            get("secret/data/~/a", headers={"X-Vault-Namespace": "nope"}, caller="wrong"),
            get("secret/data/~/a", headers={"X-Vault-Namespace": "nope"}, caller="anonymous"),
            get("auth/token/lookup-self", headers={"X-Vault-Namespace": "nope"}),
        ),
    ),
    Scenario(
        "outside",
        "Outside a principal's paths, everything is denied, existing or not.",
        (write("a", k=1), *as_("team", _KINDS[:20]), read("a")),
    ),
    Scenario(
        "inside",
        "Within its paths, a limited principal works as usual.",
        (
            post(f"secret/data/{TEAM}/~/a", {"data": {"k": 1}}),
            *as_("team", (_theirs(call) for call in _KINDS[:8])),
            *as_(
                "team",
                (
                    listing(f"secret/metadata/{TEAM}/~"),
                    listing(f"secret/metadata/{TEAM}/~/"),
                    get(f"secret/subkeys/{TEAM}/~/a"),
                    get(f"secret/data/{TEAM}%2F~%2Fa"),
                    get(f"secret/data/{TEAM}/../~/a"),
                    get(f"sys/internal/ui/mounts/secret/{TEAM}/~/a"),
                    post("auth/token/create", {}),
                ),
            ),
        ),
    ),
    Scenario(
        "reader",
        "A reader can read and list, and change nothing.",
        (write("a", k=1), *as_("reader", (*_KINDS[:10], *_KINDS[11:14])), read("a")),
    ),
    Scenario(
        "unreadable",
        "A body that is not JSON is refused before the credential is checked.",
        tuple(
            post("secret/data/~/a", b"{", caller=caller)
            for caller in ("anonymous", "wrong", "team", "reader")
        ),
    ),
)


SYSTEM = (
    Scenario(
        "system",
        "Clients can ask for health, seal and leader without a credential.",
        tuple(
            get(path, caller=caller)
            for path in (
                *("sys/health", "sys/seal-status", "sys/leader", "sys/init"),
                *("sys/health?standbyok=true", "sys/health?drsecondarycode=299", "sys/health?activecode=299"),
                *(
                    "sys/health?activecode=x",
                    "sys/health?sealedcode=299&uninitcode=299",
                    "sys/health?unknown",
                ),
            )
            for caller in ("anonymous", "admin", "wrong")
        ),
    ),
    Scenario(
        "mounts",
        "Clients learn that KV version 2 is mounted at secret/.",
        (
            *(
                get(f"sys/internal/ui/mounts{path}", caller=caller)
                for path in ("", "/secret", "/secret/", "/secret/a/b", "/nope", "/nope/x")
                for caller in ("admin", "team", "anonymous", "wrong")
            ),
            *(get("sys/mounts", caller=caller) for caller in ("admin", "team", "anonymous", "wrong")),
            post("sys/mounts", {}),
        ),
    ),
    Scenario(
        "capabilities",
        "A principal can ask what it may do.",
        (
            *each(
                lambda body: post("sys/capabilities-self", body),
                (
                    {"paths": ["secret/data/a"]},
                    {"path": "secret/data/a"},
                    {"paths": ["secret/data/a", "nope/x"]},
                    {"paths": "secret/data/a,secret/data/b"},
                    {"paths": []},
                    {"paths": [""]},
                    {"paths": ["nope"] * 101},
                    {},
                    NOTHING,
                    b"{",
                ),
            ),
            post(
                "sys/capabilities-self",
                {
                    "paths": [
                        f"secret/data/{TEAM}/a",
                        "secret/data/other",
                        f"secret/metadata/{TEAM}/a",
                        "secret/metadata/",
                        "nope",
                    ]
                },
                caller="team",
            ),
            post("sys/capabilities-self", {"paths": ["secret/data/a", "secret/metadata/a"]}, caller="reader"),
            get("sys/capabilities-self"),
        ),
    ),
)

"""The servers in a connection string, asked one by one: the reason why none of them is a usable primary."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from re import sub
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri

from vault.common.text import printable

_TIMEOUT_MILLISECONDS = 2_000


def explanation(uri: str) -> str:
    """Return what each server in *uri* answers, and which option is wrong; empty if one is the primary.

    No credential is sent.
    """
    try:
        # Looks up SRV records.
        parts = parse_uri(uri)
    except (PyMongoError, ValueError):
        return "the host name in MONGO_URI cannot be looked up"
    options = parts["options"]
    name = options.get("replicaSet", "")
    tls = {option: value for option, value in options.items() if option.lower().startswith("tls")}
    servers = [f"{host}:{port}" for host, port in parts["nodelist"]]
    with ThreadPoolExecutor(len(servers)) as pool:
        answers = list(pool.map(partial(_answer, name=name, tls=tls), servers))
    return "; ".join(answers) if all(answers) else ""


def misfit(server: str, hello: Mapping[str, Any], name: str) -> str:
    """Return why *server*, which answered *hello*, cannot be in the replica set *name*; empty if it can.

    Without a *name*, any set fits.
    """
    found = hello.get("setName")
    if not name or found == name or hello.get("isreplicaset"):
        return ""
    if found:
        return (
            f"{server} belongs to the replica set {printable(found)}; replicaSet={name} in MONGO_URI is wrong"
        )
    return f"{server} is a standalone server; start its mongod with --replSet {name}"


def short_text(error: BaseException) -> str:
    """Return the text of a connection failure without settings, the reply, and the view of the servers."""
    text = str(error).partition(", Timeout: ")[0].partition(", full error: ")[0]
    return sub(r" \(configured timeouts: [^)]*\)", "", text)


def _answer(server: str, *, name: str, tls: Mapping[str, Any]) -> str:
    """Return why *server* is not a usable primary; empty if it is one."""
    try:
        with MongoClient[dict[str, Any]](
            server, directConnection=True, timeoutMS=_TIMEOUT_MILLISECONDS, **tls
        ) as client:
            hello = client.admin.command("hello")
    except PyMongoError as error:
        return short_text(error)
    if problem := misfit(server, hello, name):
        return problem
    if hello["isWritablePrimary"]:
        return ""
    if hello.get("isreplicaset"):
        creation = "`secret-manager replicaset initiate` creates it once all members answer"
        return f"{server} has no replica set yet; {creation}"
    primary = hello.get("primary")
    if not primary:
        return f"{server} knows no primary"
    return f"{server} says that {printable(primary)} is the primary; it must be reachable from here"

"""Failures of drivers, as reasons that quote nothing."""

import socket
import struct
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pymysql
import pytest
from pymongo.errors import OperationFailure, ServerSelectionTimeoutError
from pymysql.constants import CLIENT
from redis import exceptions

from vault.features.rotation.sources import mongodb, mysql, redis
from vault.features.rotation.sources.errors import SourceError, SourceRefusedError, SourceUnavailableError


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (pymysql.err.OperationalError(1045, "hunter2"), SourceRefusedError, "refuses the administrator"),
        (pymysql.err.OperationalError(1227, "hunter2"), SourceRefusedError, "may not change"),
        (pymysql.err.OperationalError(1396, "hunter2"), SourceRefusedError, "does not have the user"),
        (pymysql.err.OperationalError(1819, "hunter2"), SourceRefusedError, "policy"),
        (pymysql.err.OperationalError(1290, "--read-only hunter2"), SourceRefusedError, "with the code 1290"),
        (pymysql.err.ProgrammingError(1064, "hunter2"), SourceRefusedError, "with the code 1064"),
        (pymysql.err.OperationalError(2003, "SSL: hunter2"), SourceRefusedError, "TLS"),
        (pymysql.err.OperationalError(2013, "hunter2"), SourceUnavailableError, "cannot be reached"),
        (OSError("hunter2"), SourceUnavailableError, "cannot be reached"),
    ],
)
def test_of_mysql(error: Exception, kind: type[SourceError], text: str) -> None:
    """The code decides; the text, which can quote the statement, is not shown."""
    found = mysql._failure(error, is_admin=True)
    assert isinstance(found, kind)
    assert text in str(found)
    assert "hunter2" not in str(found)


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (OperationFailure("hunter2", 18), SourceRefusedError, "refuses the administrator"),
        (OperationFailure("hunter2", 13), SourceRefusedError, "may not change"),
        (OperationFailure("hunter2", 11), SourceRefusedError, "does not have the user"),
        (OperationFailure("hunter2", 9), SourceRefusedError, "with the code 9"),
        (OperationFailure("hunter2", "hunter2"), SourceRefusedError, "with the code unknown"),
        (ServerSelectionTimeoutError("CERTIFICATE hunter2"), SourceRefusedError, "TLS"),
        (ServerSelectionTimeoutError("hunter2"), SourceUnavailableError, "cannot be reached"),
    ],
)
def test_of_mongodb(error: Any, kind: type[SourceError], text: str) -> None:
    """As of MySQL."""
    found = mongodb._failure(error, is_admin=True)
    assert isinstance(found, kind)
    assert text in str(found)
    assert "hunter2" not in str(found)


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (exceptions.NoPermissionError("hunter2"), SourceRefusedError, "may not use ACL"),
        (exceptions.AuthenticationError("hunter2"), SourceRefusedError, "refuses the administrator"),
        (exceptions.ResponseError("no ACL file hunter2"), SourceRefusedError, "has no ACL file"),
        (exceptions.ResponseError("hunter2"), SourceRefusedError, "refuses the command"),
        (exceptions.ConnectionError("certificate hunter2"), SourceRefusedError, "TLS"),
        (exceptions.ConnectionError("hunter2"), SourceUnavailableError, "cannot be reached"),
    ],
)
def test_of_redis(error: Exception, kind: type[SourceError], text: str) -> None:
    """As of MySQL."""
    found = redis._failure(error, is_admin=True)
    assert isinstance(found, kind)
    assert text in str(found)
    assert "hunter2" not in str(found)


def test_tls_verifies_the_server_unless_the_url_says_otherwise() -> None:
    """Only a server on this machine needs no TLS; a certificate authority in the URL is used."""
    options = mysql.MySQL("mysql://a:b@db.example/", 5)._options
    assert options["ssl"].check_hostname
    assert mysql.MySQL("mysql://a:b@db.example/?ssl_disabled=true", 5)._options["ssl_disabled"]
    assert "ssl" not in mysql.MySQL("mysql://a:b@db.example/?unix_socket=/run/mysqld", 5)._options
    assert mongodb.MongoDB("mongodb://a:b@db.example,db2.example/", 5)._options["tls"]
    assert "tls" not in mongodb.MongoDB("mongodb://a:b@[::1]:1,localhost/?authSource=c", 5)._options
    assert "tls" not in mongodb.MongoDB("mongodb://a:b@db.example/?tls=false", 5)._options
    with pytest.raises(SourceRefusedError, match="use rediss"):
        redis.Redis("redis://a:b@db.example/0", 5)
    redis.Redis("rediss://a:b@db.example/0?ssl_ca_certs=/ca.pem", 5)


def test_a_server_of_mysql_that_offers_no_tls_gets_no_login() -> None:
    """An attacker in between can leave the offer out of the greeting, and ask for the password itself."""
    without_tls = 0xFFFF_FFFF & ~CLIENT.SSL
    low, high = (struct.pack("<H", part) for part in (without_tls & 0xFFFF, without_tls >> 16))
    salt = (b"A" * 8 + b"\0", b"B" * 12 + b"\0")
    greeting = b"\x0a8.0.11\0" + bytes(4) + salt[0] + low + bytes(3) + high + b"\x15" + bytes(10) + salt[1]
    greeting += b"mysql_clear_password\0"
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:

        def serve() -> bytes:
            client, _ = listener.accept()
            with client:
                client.sendall(struct.pack("<I", len(greeting)) + greeting)
                return client.recv(1_000)

        received = pool.submit(serve)
        url = f"mysql://a:b@127.0.0.1:{listener.getsockname()[1]}/?ssl_verify_cert=true"
        with pytest.raises(SourceRefusedError, match="TLS to the server fails"):
            mysql.MySQL(url, 30).login("a", "hunter2")
        assert received.result() == b""


def test_mysql_gets_the_password_and_mariadb_its_hash() -> None:
    """MySQL hides passwords from its logs; MariaDB gets the hash of the plugin of the account."""
    password = "p" * 32
    assert mysql._change("a", "%", "caching_sha2_password", password, is_mariadb=False)[1] == [
        "a",
        "%",
        password,
    ]
    for plugin in ("ed25519", "mysql_native_password", "unix_socket"):
        statement, arguments = mysql._change("a", "%", plugin, password, is_mariadb=True)
        assert password not in statement + "".join(arguments)

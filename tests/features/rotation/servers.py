"""Real servers as sources, as processes of the tests, with all logging on."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from tests.support.waiting import wait_until
from vault.clients.dev.mongod import find_mongod, free_port
from vault.features.rotation.sources.errors import SourceError

USERS = ("app_a", "app_b")
ADMIN_PASSWORD = "admin-Password-1"
FIRST_PASSWORD = "first-Password-1"


def program(name: str, package: str, *places: str) -> str:
    """Return the path of a program, or skip the test and name the package."""
    found = [
        *filter(None, [shutil.which(name)]),
        *(str(path) for place in places for path in sorted(Path("/").glob(place))),
    ]
    if not found:
        pytest.skip(f"needs the package {package}")
    return found[-1]


@contextmanager
def own_folder() -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield a new folder, and the options of processes in it: root's run as another user."""
    folder = Path(mkdtemp(prefix="source-"))
    options: dict[str, Any] = {"cwd": folder, "env": {"PATH": os.environ["PATH"], "LC_ALL": "C"}}
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody", "nogroup")
        options |= {"user": "nobody", "group": "nogroup", "extra_groups": ()}
    try:
        yield folder, options
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running(command: list[str], log: Path, options: dict[str, Any]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server, whose output goes to *log*."""
    with (
        log.open("ab") as output,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, **options
        ) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()


class Server:
    """A running source: the administrator's URL, and its logs."""

    def __init__(self, kind: str, url: str, folder: Path, certificate: Path, tls_url: str) -> None:
        self.kind = kind
        self.url = url
        self.folder = folder
        self.certificate = certificate
        #: A URL with TLS; the path of a certificate authority follows.
        self.tls_url = tls_url

    def logs(self) -> bytes:
        """Return all that the server has logged, in any file."""
        return b"".join(path.read_bytes() for path in self.folder.glob("*log*") if path.is_file())


def certificate(folder: Path, name: str) -> Path:
    """Return a new certificate for the host *name*, with its key in the same file."""
    path = folder / f"{name}.pem"
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
            ),
            *("-days", "2", "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name},IP:127.0.0.1"),
            *("-keyout", f"{path}.key", "-out", str(path)),
        ],
        check=True,
        capture_output=True,
    )
    for file in (path, Path(f"{path}.key")):
        file.chmod(0o600)
        if os.geteuid() == 0:
            shutil.chown(file, "nobody", "nogroup")
    return path


@contextmanager
def postgresql(address: str = "127.0.0.1") -> Iterator[Server]:
    """Run a PostgreSQL server that logs every statement, and listens on *address* as well."""
    initdb = program("initdb", "postgresql", "usr/lib/postgresql/*/bin/initdb")
    postgres = str(Path(initdb).with_name("postgres"))
    with own_folder() as (folder, options):
        (folder / "password").write_text(ADMIN_PASSWORD)
        (folder / "password").chmod(0o644)
        tls, port = certificate(folder, "localhost"), free_port()
        data = str(folder / "data")
        subprocess.run(
            [
                initdb,
                "-D",
                data,
                "-U",
                "root_user",
                "-A",
                "scram-sha-256",
                "--no-sync",
                "--no-locale",
                "-E",
                "UTF8",
                "--pwfile",
                str(folder / "password"),
            ],
            check=True,
            capture_output=True,
            **options,
        )
        with (folder / "data" / "pg_hba.conf").open("a") as rules:
            rules.write("host all all all scram-sha-256\n")
        settings = {
            "port": port,
            "listen_addresses": f"127.0.0.1,{address}",
            "unix_socket_directories": folder,
            "fsync": "off",
            "log_statement": "all",
            "log_connections": "on",
            "log_min_messages": "debug1",
            "log_min_error_statement": "debug1",
            "log_duration": "on",
            "ssl": "on",
            "ssl_cert_file": tls,
            "ssl_key_file": f"{tls}.key",
            "max_connections": 50,
            "shared_buffers": "8MB",
        }
        command = [postgres, "-D", data, *(f"--{name}={value}" for name, value in settings.items())]
        url = f"postgresql://root_user:{ADMIN_PASSWORD}@127.0.0.1:{port}/postgres"
        with running(command, folder / "server.log", options):
            import psycopg

            def create() -> bool:
                with suppress(psycopg.OperationalError), psycopg.connect(url, autocommit=True) as connection:
                    for user in USERS:
                        connection.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{FIRST_PASSWORD}'")
                    return True
                return False

            wait_until(create)
            # What the tests themselves did.
            (folder / "server.log").write_bytes(b"")
            yield Server("postgresql", url, folder, tls, f"{url}?sslrootcert=")


@contextmanager
def mariadb() -> Iterator[Server]:
    """Run a MariaDB server with its general log and its binary log."""
    daemon = program("mariadbd", "mariadb-server", "usr/sbin/mariadbd")
    install = program("mariadb-install-db", "mariadb-server")
    statements = [
        "INSTALL SONAME 'auth_ed25519'",
        *(
            f"CREATE USER {user}@'%' IDENTIFIED VIA {plugin} USING PASSWORD('{FIRST_PASSWORD}')"
            for user, plugin in zip(USERS, ("ed25519", "mysql_native_password"), strict=True)
        ),
    ]
    prepare = [install, "--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]
    with _mysql(daemon, prepare, statements) as server:
        yield server


@contextmanager
def mysql() -> Iterator[Server]:
    """Run a MySQL server, whose program is in the variable `MYSQLD`: Debian's stable release has none."""
    daemon = os.environ["MYSQLD"]
    statements = [f"CREATE USER {user}@'%' IDENTIFIED BY '{FIRST_PASSWORD}'" for user in USERS]
    with _mysql(daemon, [daemon, "--no-defaults", "--initialize-insecure"], statements) as server:
        yield server


@contextmanager
def _mysql(daemon: str, prepare: list[str], statements: list[str]) -> Iterator[Server]:
    with own_folder() as (folder, options):
        data, port, tls = folder / "data", free_port(), certificate(folder, "localhost")
        subprocess.run([*prepare, f"--datadir={data}"], check=True, capture_output=True, **options)
        statements = [
            f"CREATE USER root_user@'%' IDENTIFIED BY '{ADMIN_PASSWORD}'",
            "GRANT ALL ON *.* TO root_user@'%' WITH GRANT OPTION",
            *statements,
        ]
        (folder / "init.sql").write_text("".join(f"{statement};\n" for statement in statements))
        (folder / "init.sql").chmod(0o644)
        settings = {
            "datadir": data,
            "port": port,
            "bind-address": "127.0.0.1,127.0.0.2",
            "socket": folder / "socket",
            "general-log": 1,
            "general-log-file": folder / "general.log",
            "log-bin": folder / "log-bin",
            "slow-query-log": 1,
            "long-query-time": 0,
            "slow-query-log-file": folder / "slow.log",
            "ssl-ca": tls,
            "ssl-cert": tls,
            "ssl-key": f"{tls}.key",
            "init-file": folder / "init.sql",
            "server-id": 1,
            "innodb-buffer-pool-size": "16M",
            "innodb-flush-log-at-trx-commit": 0,
            "tls-version": "TLSv1.2,TLSv1.3",
        }
        command = [daemon, "--no-defaults", *(f"--{name}={value}" for name, value in settings.items())]
        url = f"mysql://root_user:{ADMIN_PASSWORD}@127.0.0.1:{port}/"
        with running(command, folder / "server.log", options):
            from vault.features.rotation.sources.mysql import MySQL

            def ready() -> bool:
                with suppress(SourceError):
                    return MySQL(url, 5).login(USERS[1], FIRST_PASSWORD)
                return False

            wait_until(ready)
            yield Server("mysql", url, folder, tls, f"{url}?ssl_ca=")


@contextmanager
def key_value(name: str) -> Iterator[Server]:
    """Run Redis or Valkey, by its *name*, with an ACL file and a log of slow commands."""
    daemon = program(f"{name}-server", f"{name}-server")
    with own_folder() as (folder, options):
        port, tls = free_port(), certificate(folder, "localhost")
        lines = [f"user {user} on >{FIRST_PASSWORD} ~* +@all" for user in USERS]
        lines += [f"user default on >{ADMIN_PASSWORD} ~* +@all", "user guest on nopass +ping"]
        (folder / "users.acl").write_text("\n".join(lines) + "\n")
        if os.geteuid() == 0:
            shutil.chown(folder / "users.acl", "nobody", "nogroup")
        tls_port = free_port()
        settings = {
            "port": port,
            "bind": "127.0.0.1",
            "dir": folder,
            "aclfile": folder / "users.acl",
            "save": "",
            "loglevel": "debug",
            "slowlog-log-slower-than": 0,
            "slowlog-max-len": 10_000,
            "tls-port": tls_port,
            "tls-cert-file": tls,
            "tls-key-file": f"{tls}.key",
            "tls-auth-clients": "no",
        }
        command = [daemon, *(str(word) for key, value in settings.items() for word in (f"--{key}", value))]
        url = f"redis://:{ADMIN_PASSWORD}@127.0.0.1:{port}/0"
        with running(command, folder / "server.log", options):
            from vault.features.rotation.sources.redis import Redis

            def ready() -> bool:
                with suppress(SourceError):
                    return Redis(url, 5).login(USERS[0], FIRST_PASSWORD)
                return False

            wait_until(ready)
            secure = f"rediss://:{ADMIN_PASSWORD}@127.0.0.1:{tls_port}/0?ssl_ca_certs="
            yield Server("redis", url, folder, tls, secure)


@contextmanager
def mongodb() -> Iterator[Server]:
    """Run a mongod with access control, all of its log components, and a profile of each operation."""
    daemon = str(find_mongod())
    with own_folder() as (folder, options):
        (folder / "data").mkdir()
        if os.geteuid() == 0:
            shutil.chown(folder / "data", "nobody", "nogroup")
        port, tls = free_port(), certificate(folder, "localhost")
        both = folder / "both.pem"
        both.write_bytes(tls.read_bytes() + Path(f"{tls}.key").read_bytes())
        both.chmod(0o644)
        command = [
            *(
                daemon,
                "--dbpath",
                str(folder / "data"),
                "--port",
                str(port),
                "--bind_ip",
                "127.0.0.1",
                "--auth",
            ),
            *("--profile", "2", "--slowms", "0", "-vvv", "--nounixsocket"),
            *("--tlsMode", "preferTLS", "--tlsCertificateKeyFile", str(both)),
        ]
        place = f"127.0.0.1:{port}"
        url = f"mongodb://root_user:{ADMIN_PASSWORD}@{place}/?directConnection=true"
        options["env"]["GLIBC_TUNABLES"] = os.environ.get("GLIBC_TUNABLES", "")
        with running(command, folder / "server.log", options):

            def create() -> bool:
                with (
                    suppress(PyMongoError),
                    MongoClient(
                        f"mongodb://{place}/?directConnection=true", serverSelectionTimeoutMS=1_000
                    ) as client,
                ):
                    client.admin.command("createUser", "root_user", pwd=ADMIN_PASSWORD, roles=["root"])
                    return True
                return False

            wait_until(create)
            with MongoClient(url) as client:
                for user in USERS:
                    client.admin.command("createUser", user, pwd=FIRST_PASSWORD, roles=["read"])
            yield Server("mongodb", url, folder, tls, f"{url}&tlsCAFile=")

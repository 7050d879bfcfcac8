"""Give Redis the password of the user `shop`: it accepts the task's own password, and the one before."""

import sys
import time
from hashlib import sha256
from pathlib import Path

import redis

_ACCEPTED = Path("/tmp/accepted")  # noqa: S108 - of this container
_MIN_LENGTH = 12


def accept(admin: redis.Redis, password: str) -> None:
    """Make *password* one of the two newest passwords of the user. Redis stores their SHA-256."""
    user = admin.acl_getuser("shop") or {"passwords": []}
    own = sha256(password.encode()).hexdigest()
    before = [one for one in user["passwords"] if one != own]
    wanted = [*before[-1:], own]
    if user["passwords"] != wanted:
        # One command: there is no moment without the passwords.
        hashes = [f"#{one}" for one in wanted]
        admin.execute_command(
            "ACL", "SETUSER", "shop", "on", "resetpass", *hashes, "~shop:*", "+@all", "-@admin"
        )


def main() -> None:
    """Keep the user as it must be, also after a restart of Redis."""
    password = Path("/run/secrets/redis_password").read_text()
    if len(password) < _MIN_LENGTH:
        sys.exit(f"the password has less than {_MIN_LENGTH} characters")
    admin = redis.Redis("redis", password=Path("/run/secrets/redis_admin").read_text())
    while True:
        try:
            accept(admin, password)
            _ACCEPTED.touch()
        except redis.ConnectionError:
            _ACCEPTED.unlink(missing_ok=True)
        time.sleep(1)


if __name__ == "__main__":
    main()

"""The rotation of the service's master key, in four steps.

It adds a new key to every replica, encrypts under it, rewraps every secret, and removes the earlier key. Each
step starts only once the one before has reached every worker. An interrupted rotation resumes.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from vault.clients.swarm.deployment.jobs import Job, Jobs
from vault.clients.swarm.deployment.keys import MasterKeys, new_key
from vault.clients.swarm.deployment.manager import SERVICE, STACK, Found, file_of
from vault.clients.swarm.deployment.program import DeploymentError

_SERVICE_USER = 10001
_USE_SECONDS = 120
_STEP = "secret-manager.rotation"
_NUMBERED = re.compile(".+_v[0-9]+")
_ACCEPT = "run scripts/run_command.sh keys custody check --accept, and then this command"

#: Edits a copy of the keyring file. In memory, because the job's file system is read-only.
_EDIT = (
    'cp "$MASTER_KEYRING_FILE" /dev/shm/keyring.json; export MASTER_KEYRING_FILE=/dev/shm/keyring.json{}'
    '; secret-manager keys custody "$@" >&2; cat /dev/shm/keyring.json; sha256sum </dev/shm/keyring.json'
)


class KeyRotation:
    """A rotation of the key of the service by *jobs*."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._stack = jobs.stack
        self._say = jobs.stack.progress.say

    def run(self) -> None:
        """Rotate the key, or finish a rotation that was interrupted.

        Raises:
            DeploymentError: A step fails; nothing is lost, and another run resumes.
        """
        self._stack.required()
        removed, is_updating = "", self._stack.update_state() == "updating"
        if is_updating:
            self._say("Waiting for the update that is in progress.")
            removed = self._stack.setting("MASTER_KEY_FALLBACKS_FILE", "PreviousSpec")
            self._stack.await_update(SERVICE)
        file = self._stack.setting("MASTER_KEYRING_FILE")
        if file:
            self._rotate_file(file, is_updating=is_updating)
        else:
            self._rotate_secret(removed.rpartition("/")[2])

    def _rotate_secret(self, removed: str) -> None:
        primary = self._key("MASTER_KEY_FILE")
        fallback = self._key("MASTER_KEY_FALLBACKS_FILE")
        if not _NUMBERED.fullmatch(primary):
            raise DeploymentError(
                "the service has no master key named master_key_vN", hint="deploy it with scripts/deploy.sh"
            )
        new = _next(primary)
        if removed and not fallback:
            # An earlier run was interrupted in step 4.
            self._finish(primary, removed)
            return
        if not fallback:
            self._add(new)
            fallback = new
        if fallback == new:
            self._everywhere("fallback", "holding")
            self._say(f"2. Encrypting under {new}; {primary} still decrypts.")
            self._stack.update_service(lambda container: _use(container, primary=new, fallback=primary))
            primary, fallback = new, primary
        self._everywhere("primary", "encrypting")
        self._say(f"3. Rewrapping every secret under {primary}.")
        self._rewrap()
        self._say(f"4. Removing {fallback} from every replica.")
        self._stack.update_service(lambda container: _remove(container, fallback))
        self._finish(primary, fallback)

    def _key(self, setting: str) -> str:
        return self._stack.setting(setting).rpartition("/")[2]

    def _add(self, new: str) -> None:
        MasterKeys(self._jobs).create(new, new_key())
        self._say(f"1. Adding {new} to every replica, for decryption only.")
        secret = self._stack.reference("Secret", new, file_of(new, user=_SERVICE_USER))

        def add(container: Found) -> None:
            # An interrupted run can have changed one of the two services.
            rest = [one for one in container.get("Secrets") or () if one["SecretName"] != new]
            container["Secrets"] = [*rest, secret]
            _set(container, "MASTER_KEY_FALLBACKS_FILE", f"/run/secrets/{new}")

        self._stack.update_service(add)

    def _finish(self, primary: str, fallback: str) -> None:
        """Wait until no worker has the removed key."""
        self._everywhere("primary", "encrypting")
        say, container = self._say, self._stack.replica()
        say(
            f"The service now uses {primary}. For manual deployments, run: export MASTER_KEY_SECRET={primary}"
        )
        if not container:
            say(f"The replicas run on {self._stack.elsewhere()}: run docker exec there.")
        say(
            f"Keep a copy of it (docs/copies.md): docker exec -it {container[:12] or 'CONTAINER'} "
            "secret-manager keys copy --threshold 2 --shares 3"
        )
        say(f"Keep {fallback} as long as you keep earlier backups, then run: docker secret rm {fallback}")

    def _rotate_file(self, file: str, *, is_updating: bool) -> None:
        """Rotate the key of the keyring file. Each edit of it is a new Docker config."""
        config = self._stack.keyring_config()
        if not config:
            raise DeploymentError(f"no Docker config of the service is {file}", hint="see docs/custody.md")
        step = (self._label(config) or "").partition(" ")[0]
        if step == "drop" and is_updating:
            self._finish_file()
            return
        if step not in ("new-key", "promote"):
            key = self._key_id("fallback")
            if key:
                raise DeploymentError(
                    f"the keyring file has a fallback that this command did not add, {key}",
                    hint="see docs/custody.md",
                )
            self._say("1. Adding a new key to every replica, for decryption only.")
            self._edit(file, "new-key")
            step = "new-key"
        if step == "new-key":
            self._everywhere("fallback", "holding")
            key = self._key_id("fallback")
            self._say(f"2. Encrypting under {key}; the earlier key still decrypts.")
            self._edit(file, "promote", key)
        self._everywhere("primary", "encrypting")
        self._say("3. Rewrapping every secret.")
        self._rewrap()
        key = self._key_id("fallback")
        self._say(f"4. Removing {key} from every replica.")
        self._edit(file, "drop", key)
        self._finish_file()

    def _finish_file(self) -> None:
        """Wait until no worker has the removed key, and say where the file is."""
        self._everywhere("primary", "encrypting")
        say, config = self._say, self._stack.keyring_config()
        say(f"The service now uses {config}. For manual deployments, run: export KEYRING_CONFIG={config}")
        shown = f"docker config inspect {config} --format '{{{{json .Spec.Data}}}}' | tr -d '\"' | base64 -d"
        say(f"Keep a copy of it: {shown}")
        say("Keep the copies before it as long as you keep earlier backups.")

    def _edit(self, file: str, step: str, *arguments: str) -> None:
        """Update the service to the keyring file after `keys custody` has made this step."""
        config = self._stack.keyring_config()
        if not _NUMBERED.fullmatch(config):
            raise DeploymentError(
                f"the Docker config {config} is not named keyring_vN", hint="see docs/custody.md"
            )
        new, label = _next(config), f"{step} {config}"
        if self._label(new) is None:
            self._stack.create_config(new, {_STEP: label}, self._edited(step, *arguments))
        # An interrupted run may have made it. A config of another step must not be used.
        if self._label(new) != label:
            raise DeploymentError(
                f"there is a Docker config {new} already",
                hint="deploy it (KEYRING_CONFIG), or remove it (docker config rm)",
            )
        reference = self._stack.reference("Config", new, file_of(file, user=0, mode=0o444))

        def replace(container: Found) -> None:
            rest = [one for one in container["Configs"] if one["ConfigName"] not in (config, new)]
            container["Configs"] = [*rest, reference]

        self._stack.update_service(replace)

    def _label(self, name: str) -> str | None:
        """Return the step that made a Docker config, empty if it was none; None without the config."""
        found = self._stack.config(name)
        return found.labels.get(_STEP, "") if found else None

    def _edited(self, *arguments: str) -> bytes:
        """Return the keyring file after `keys custody` with *arguments*."""
        container, exports = self._jobs.like_service(_SERVICE_USER, _SERVICE_USER), ""
        for pair in os.environ.get("OPERATOR_SECRETS", "").split():
            name, _, secret = pair.partition("=")
            target = f"operator-{name}"
            container["Secrets"].append(
                self._stack.reference("Secret", secret, file_of(target, user=_SERVICE_USER))
            )
            exports += f"; export {name}_FILE=/run/secrets/{target}"
        printed = self._jobs.run(self._job(container, ("sh", "-ec", _EDIT.format(exports), "sh"), arguments))
        content, _, digest = printed.rstrip("\n").rpartition("\n")
        # Docker's logs can be cut, or have lines of others.
        if digest.split()[:1] != [sha256(f"{content}\n".encode()).hexdigest()]:
            raise DeploymentError("the log of the job is not the keyring file", hint=_ACCEPT)
        return f"{content}\n".encode()

    def _job(self, container: Mapping[str, Any], entrypoint: Sequence[str], arguments: Sequence[str]) -> Job:
        return Job(
            image=self._stack.image(),
            entrypoint=entrypoint,
            arguments=arguments,
            container=container,
            networks=(f"{STACK}_secret-manager-network",),
            megabytes=512,
        )

    def _command(self, *arguments: str) -> Job:
        """Return a job that runs secret-manager with the service's keys."""
        return self._job(self._jobs.like_service(_SERVICE_USER, _SERVICE_USER), (), arguments)

    def _rewrap(self) -> None:
        self._jobs.show(self._command("keys", "rewrap"))
        self._jobs.show(self._command("keys", "status"))

    def _keys(self, role: str) -> list[Mapping[str, Any]]:
        """Return what `keys status` says of the keys that have this role."""
        printed = self._jobs.run(self._command("keys", "status", "--json"))
        found = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
        return [one for one in found if one.get("role") == role]

    def _key_id(self, role: str) -> str:
        return " ".join(one["key_id"] for one in self._keys(role))

    def _everywhere(self, role: str, use: str) -> None:
        """Wait until all workers do what *use* says with the key of *role*."""
        count = workers = 0
        for _ in self._stack.progress.wait(_USE_SECONDS, pause=2):
            keys = self._keys(role)
            if not keys:
                raise DeploymentError("secret-manager keys status failed")
            count, workers = keys[0][use], keys[0]["workers"]
            if count == workers:
                return
        raise DeploymentError(
            f"some workers do not use the key yet ({count} of {workers})",
            hint="run scripts/run_command.sh keys status",
        )


def _next(name: str) -> str:
    beginning, _, number = name.rpartition("_v")
    return f"{beginning}_v{int(number) + 1}"


def _set(container: Found, name: str, value: str) -> None:
    rest = [one for one in container.get("Env") or () if not one.startswith(f"{name}=")]
    container["Env"] = [*rest, f"{name}={value}"]


def _use(container: Found, *, primary: str, fallback: str) -> None:
    _set(container, "MASTER_KEY_FILE", f"/run/secrets/{primary}")
    _set(container, "MASTER_KEY_FALLBACKS_FILE", f"/run/secrets/{fallback}")


def _remove(container: Found, secret: str) -> None:
    container["Secrets"] = [one for one in container["Secrets"] if one["SecretName"] != secret]
    container["Env"] = [one for one in container["Env"] if not one.startswith("MASTER_KEY_FALLBACKS_FILE=")]

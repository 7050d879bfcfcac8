"""Deploys for production, and updates a deployment."""

from __future__ import annotations

import json
import os
import re
import secrets
from base64 import b64encode
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from vault.clients.swarm.deployment import certificates, images, plan, settings_check
from vault.clients.swarm.deployment.certificates import Certificates, Pair
from vault.clients.swarm.deployment.jobs import Job, Jobs
from vault.clients.swarm.deployment.keys import MasterKeys, new_key, require_key
from vault.clients.swarm.deployment.manager import BACKUP, SERVICE, STACK, container_of
from vault.clients.swarm.deployment.members import Members, Placement, hosts_of
from vault.clients.swarm.deployment.program import DeploymentError
from vault.clients.swarm.deployment.record import STACK_FILES, Record, Records, exported

_SETTLED = frozenset({"", "completed", "rollback_completed"})
_KEYRING = re.compile(r"""^[^#]*\bMASTER_KEYRING_FILE["']?[:=] *[^ ]""", re.MULTILINE)
_MEMBER = re.compile("mongodb-[0-9]")
_LABEL_OF_TRIALS = "secret-manager.trial"
_LABEL_OF_PORTS = "secret-manager.published"
_MONGODB_KEY = "mongodb_key_file"
_SHOWN = "anyone who can inspect the service sees"
_KEY_FILE_BYTES = 756
_DEFAULT_REPLICAS = "2"
#: In a plan, the image that a deployment would build.
_BUILT = "a build of the checkout"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """What a deployment has led to."""

    replicas: int
    #: The first token; empty if there was one before, or no replica.
    token: str
    #: What the operator should do next.
    steps: str


class Deployment:
    """A deployment of the stack files of *checkout*, with the further ones in *files* on top."""

    def __init__(
        self,
        jobs: Jobs,
        *,
        checkout: Path,
        files: Sequence[Path],
        tell: Callable[[Deployed], object],
        pair: Pair | None = None,
        drops_pair: bool = False,
    ) -> None:
        """Take a new *pair* for the service; without one, it keeps its own, unless that is dropped."""
        self._jobs = jobs
        self._stack = jobs.stack
        self._program = jobs.program
        self._say = jobs.stack.progress.say
        self._checkout = checkout
        self._files = files
        self._tell = tell
        self._pair = pair
        self._drops_pair = drops_pair
        self._certificates = Certificates(jobs.stack)
        #: The number of the pair for the service; empty without one.
        self._certificate = ""
        self._placement = Placement(jobs.stack)
        #: The variables of the stack files.
        self._variables: dict[str, str] = {}
        #: Not `always`: if mongo:7.0 became another image, all members would restart together.
        self._resolve = "changed"
        self._records = Records(jobs.stack)
        self._is_custody = any(_KEYRING.search(file.read_text()) for file in files)
        #: The stack file, as Docker merges it.
        self._merged: dict[str, Any] = {}

    def run(self) -> None:
        """Deploy, and tell once the service is ready.

        Raises:
            DeploymentError: A check refuses, or a part does not become ready.
        """
        self._refuse_shown_secrets()
        key = self._require_keys()
        self._placement.await_nodes()
        self._placement.find()
        self._placement.report()
        image = self._image()
        self._take_certificate()
        self._check_settings(image)
        key_secret = "" if self._is_custody else self._master_key(image, key)
        self._create_secrets()
        self._placement.label()
        before, replicas = self._before()
        self._variables |= {"IMAGE": image, "MASTER_KEY_SECRET": key_secret, "REPLICAS": replicas}
        self._merged = self._merge()
        record = self._record(image)
        self._records.keep(record)
        members = Members(self._placement, self._jobs, image, self._deploy)
        self._deploy_mongodb(members)
        self._deploy_service(before, int(replicas))
        self._records.remove_others(record)
        self._certificates.remove_former(self._certificate)
        self._tell(self._done(image, key_secret, int(replicas)))
        if members.late:
            raise DeploymentError(
                f"MongoDB was not updated, because {hosts_of(members.late)} is not in step",
                hint=f"for the reason, run docker service logs {STACK}_mongodb-{members.late[0]}. When all "
                "members are in step, run this command again",
            )

    def plan(self) -> Iterator[plan.Difference]:
        """Yield what `run` would change, and change nothing.

        Raises:
            DeploymentError: A check refuses.
        """
        self._refuse_shown_secrets()
        self._require_keys()
        self._pin()
        service = self._stack.find(SERVICE)
        running = str(container_of(service)["Image"]) if service else ""
        image = os.environ.get("IMAGE") or _BUILT
        key_secret = self._stack.setting("MASTER_KEY_FILE").rpartition("/")[2]
        key_secret = key_secret or os.environ.get("MASTER_KEY_SECRET") or "master_key_v1"
        self._take_certificate()
        _, replicas = self._before()
        self._variables |= {"IMAGE": image, "MASTER_KEY_SECRET": key_secret, "REPLICAS": replicas}
        if running or image != _BUILT:
            self._check_settings(running if image == _BUILT else image)
        self._merged = self._merge()
        yield from plan.of_services(self._stack, self._merged)
        before = self._records.newest()
        if before:
            yield from plan.of_files(before, self._record(image))

    def _check_settings(self, image: str) -> None:
        """Check the settings before anything is changed."""
        merged = self._merge()["services"]["secret-manager"]
        settings = merged.get("environment") or {}
        settings_check.check(self._program, image, settings, self._read(settings), self._say)

    def _read(self, settings: Mapping[str, object]) -> list[str]:
        """Return the names of the variables that the stack files read."""
        files = [*(self._checkout / name for name in (*STACK_FILES, certificates.FILE)), *self._files]
        return settings_check.variables(files, settings)

    def _record(self, image: str) -> Record:
        settings = self._merged["services"]["secret-manager"].get("environment") or {}
        variables = exported(self._read(settings), image)
        return Record.of(self._checkout, self._files, self._merged, variables)

    def _refuse_shown_secrets(self) -> None:
        if self._stack.setting("MASTER_KEY_FALLBACKS_FILE"):
            raise DeploymentError("a rotation is in progress", hint="finish it with scripts/rotate_key.sh")
        if os.environ.get("MASTER_KEY_FALLBACKS") or self._stack.setting("MASTER_KEY_FALLBACKS"):
            raise DeploymentError(
                f"{_SHOWN} MASTER_KEY_FALLBACKS",
                hint="finish that rotation (secret-manager keys rewrap), then unset it",
            )
        if re.match("mongodb.*@", os.environ.get("RATE_LIMIT_STORAGE_URI", "")):
            raise DeploymentError(
                f"{_SHOWN} RATE_LIMIT_STORAGE_URI",
                hint="set RATE_LIMIT_STORAGE_URI_FILE (docs/install-swarm.md)",
            )
        for name in ("AUDIT_WITNESS_TOKEN", "OIDC_CLIENT_SECRET"):
            if os.environ.get(name):
                raise DeploymentError(
                    f"{_SHOWN} {name}",
                    hint=f"unset it, and set {name}_FILE in a stack file (docs/install-swarm.md)",
                )

    def _require_keys(self) -> str:
        """Return the master key that is exported, or a quick start's; nothing with a keyring file."""
        if self._is_custody:
            config = os.environ.get("KEYRING_CONFIG") or self._stack.keyring_config() or "keyring_v1"
            self._variables["KEYRING_CONFIG"] = config
            if self._stack.config(config) is None:
                raise DeploymentError(
                    "there is no keyring file",
                    hint=f"run docker config create {config} keyring.json (docs/custody.md)",
                )
            return ""
        if self._stack.setting("MASTER_KEYRING_FILE"):
            raise DeploymentError(
                "the service has a keyring file",
                hint="add the stack file that sets MASTER_KEYRING_FILE, such as deploy/stack.custody.yml",
            )
        return require_key(os.environ.get("MASTER_KEY", ""), self._stack.setting("MASTER_KEY"))

    def _pin(self) -> None:
        """Take the third-party images that are pinned."""
        pinned = images.pinned(self._checkout / (os.environ.get("IMAGES_FILE") or images.FILE))
        if pinned is None:
            self._say("Base images are selected by tag. To pin them by digest, run scripts/pin_images.sh.")
        self._variables |= pinned or {}

    def _image(self) -> str:
        """Return the image to deploy, which is built unless one is named."""
        self._pin()
        image = os.environ.get("IMAGE")
        if image:
            return image
        if len(self._stack.nodes()) > 1:
            raise DeploymentError(
                "the swarm has several nodes", hint="push the image to a registry and set IMAGE"
            )
        self._say("Building the image.")
        options = os.environ.get("DOCKER_BUILD_OPTIONS", "").split()
        python = self._variables.get("PYTHON_IMAGE") or os.environ.get("PYTHON_IMAGE")
        options += ["--build-arg", f"PYTHON_IMAGE={python}"] if python else []
        latest = f"{STACK}:latest"
        self._program.output("build", "--quiet", *options, "-t", latest, ".", folder=self._checkout)
        self._resolve = "never"
        return self._stack.tagged(latest)

    def _master_key(self, image: str, key: str) -> str:
        """Return the name of the Docker secret with the master key, which is created if there is none."""
        keys = MasterKeys(self._jobs)
        name = keys.name_for(key, keys.held(image), os.environ.get("MASTER_KEY_SECRET", ""))
        keys.create(name, key or new_key())
        return name

    def _create_secrets(self) -> None:
        placeholder = self._stack.secret(_MONGODB_KEY)
        # stack.yml holds the name of MongoDB's key during a trial.
        if placeholder and (placeholder["Spec"].get("Labels") or {}).get(_LABEL_OF_TRIALS):
            self._stack.ask(lambda client: client.remove_secret(placeholder["ID"]))
        uri = f"mongodb://secret-manager:{secrets.token_hex(24)}@mongodb-1,mongodb-2,mongodb-3/vault?replicaSet=rs0"
        created = {
            _MONGODB_KEY: b64encode(os.urandom(_KEY_FILE_BYTES)).decode(),
            "mongodb_root_password": secrets.token_hex(24),
            "mongo_uri": uri,
        }
        for name, text in created.items():
            if not self._stack.secret(name):
                self._stack.create_secret(name, text, {})
                self._say(f"Created the Docker secret {name}.")
        if self._pair:
            self._certificates.create(self._pair)

    def _take_certificate(self) -> None:
        """Take the pair for the service: a new one, its own, or none."""
        number = self._pair.number if self._pair else self._certificates.current
        if number and not self._drops_pair:
            self._certificate = number
            self._variables |= self._certificates.variables(number)

    def _before(self) -> tuple[object, str]:
        """Return what the service was like before, and the number of its replicas."""
        replicas = os.environ.get("REPLICAS", "")
        service = self._stack.find(SERVICE)
        if not service:
            return None, replicas or _DEFAULT_REPLICAS
        state = self._stack.update_state()
        # The deployment before was interrupted: its update can still be running, without a change now.
        before = self._stack.spec(SERVICE) if state in _SETTLED else state
        # Keep the current scale: a deployment would reset it.
        current = service["Spec"]["Mode"].get("Replicated", {}).get("Replicas", _DEFAULT_REPLICAS)
        return before, replicas or str(current)

    def _merge(self) -> dict[str, Any]:
        tls = [certificates.FILE] if self._certificate else []
        files = [*STACK_FILES, *tls, *map(str, self._files)]
        # The service reads these from Docker secrets only.
        self._variables |= {"MASTER_KEY": "", "MONGO_URI": ""}
        options = [option for file in files for option in ("-c", file)]
        merged: dict[str, Any] = yaml.safe_load(
            self._program.output(
                "stack", "config", *options, folder=self._checkout, environment=self._variables
            )
        )
        if self._is_custody:
            _without_key(merged)
        _without_ports(merged)
        return merged

    def _deploy_mongodb(self, members: Members) -> None:
        all_members = [name for name in self._merged["services"] if _MEMBER.fullmatch(name)]
        is_trial = self._is_trial()
        if is_trial:
            self._say(
                "The trial becomes a secured stack: until it is ready, requests get 503. If this is "
                "interrupted, run this command again."
            )
            # Back in the trial, replicas could not serve any more.
            _never_roll_back(self._merged)
        self._say("Deploying MongoDB.")
        if is_trial or members.cannot_serve():
            if self._placement.absent:
                raise DeploymentError(
                    "this deployment needs all members of MongoDB",
                    hint="bring back the node, then run this command again",
                )
            self._deploy(all_members)
        elif not self._placement.absent:
            members.update()

    def _deploy_service(self, before: object, replicas: int) -> None:
        # Before the service: without MongoDB's user, no new replica becomes ready.
        self._deploy(["replica-set"])
        self._stack.await_replica_set(self._placement.culprit)
        self._say("Deploying the service, and waiting until it is ready.")
        rest = [name for name in self._merged["services"] if not _MEMBER.fullmatch(name)]
        self._deploy([name for name in rest if name != "replica-set"])
        if before is not None and self._stack.spec(SERVICE) != before:
            self._stack.await_update(SERVICE)
        self._stack.await_replicas(replicas, self._placement.culprit)

    def _done(self, image: str, key_secret: str, replicas: int) -> Deployed:
        if not replicas:
            self._say(
                f"Deployed without replicas. Restore a backup, then run: docker service scale {SERVICE}=2"
            )
            return Deployed(replicas=0, token="", steps="")
        self._say("The service is ready.")
        if "backup" in self._merged["services"] and not self._stack.running(BACKUP):
            self._say(f"Backups do not run yet: for the reason, run docker service ps --no-trunc {BACKUP}")
        token = self._first_token(image)
        return Deployed(replicas=replicas, token=token, steps=self._next_steps(key_secret))

    def _is_trial(self) -> bool:
        """Return whether a replica is a quick start's: it has no file with MongoDB's password."""
        environments = [
            task["Spec"]["ContainerSpec"].get("Env") or () for task in self._stack.wanted(SERVICE)
        ]
        return any(
            not any(one.startswith("MONGO_URI_FILE=") for one in environment) for environment in environments
        )

    def _deploy(self, names: Collection[str]) -> None:
        """Deploy these services of the stack files, and leave all others as they are."""
        # With --prune, or if the file named the others, Docker would change them too. Docker expands
        # variables again, so each dollar sign is doubled.
        services = {name: one for name, one in self._merged["services"].items() if name in names}
        text = json.dumps({**self._merged, "services": services}).replace("$", "$$")
        options = ("--detach", "--quiet", "--with-registry-auth", "--resolve-image", self._resolve)
        self._program.output(
            *("stack", "deploy", *options, "-c", "-", STACK),
            stdin=text,
            folder=self._checkout,
            environment=self._variables,
        )

    def _first_token(self, image: str) -> str:
        """Return the first token, or nothing if there is one."""
        container = self._stack.replica()
        if not container:
            # The token must not be in a log, so this needs a container on this node.
            self._jobs.start(
                Job(
                    image=image,
                    entrypoint=("sleep",),
                    arguments=("600",),
                    container=self._jobs.like_service(10001, 10001),
                    networks=(f"{STACK}_secret-manager-network",),
                    megabytes=256,
                    is_here=True,
                )
            )
            try:
                self._jobs.wait("running")
            except DeploymentError as error:
                self._say(str(error))
                self._say(
                    f"If there is no token yet, run on {self._stack.elsewhere()}: docker exec CONTAINER "
                    "secret-manager tokens create --name admin --role admin"
                )
                return ""
            container = self._jobs.container()
        command = ("exec", container, "secret-manager", "tokens")
        if self._program.output(*command, "list", "--json"):
            return ""
        return self._program.output(*command, "create", "--name", "admin", "--role", "admin").strip()

    def _next_steps(self, key_secret: str) -> str:
        container = self._stack.replica()
        if not container:
            self._say(f"The replicas run on {self._stack.elsewhere()}: run the commands below there.")
        shown = container[:12] or "CONTAINER"
        keep = _KEEP_KEYRING if self._is_custody else _KEEP_KEY.format(shown, key_secret)
        settings = self._merged["services"].get("secret-manager", {}).get("environment", {})
        plain = "" if _is_encrypted(settings) else _PLAIN
        return f"Next steps:\n{keep}{plain}{_NEXT.format(shown)}"


_KEEP_KEYRING = """\
- Keep a copy of the keyring file, and shares of a recovery slot: docs/custody.md. Without them, no secret can
  be decrypted if its providers are lost.
"""
_KEEP_KEY = """\
- Keep a copy of {1}, the master key: docs/copies.md. Without it, no secret can be decrypted.
    docker exec -it {0} secret-manager keys copy --threshold 2 --shares 3
"""
_PLAIN = """\
- Encrypt requests, which now cross the network in plain text: deploy with --tls-cert and --tls-key, or with a
  proxy (docs/install-swarm.md#tls).
"""
_NEXT = """\
- Create a token for each application:
    docker exec {} secret-manager tokens create --name app --role writer
- Rotate the master key regularly: scripts/rotate_key.sh"""


def _is_encrypted(settings: Mapping[str, object]) -> bool:
    """Return whether the service has a certificate, or a proxy in front."""
    return any(settings.get(name) for name in ("TLS_CERT", "TRUSTED_PROXIES"))


def _without_key(merged: Mapping[str, Any]) -> None:
    """Remove the Docker secret with the master key from a stack file."""
    merged.get("secrets", {}).pop("master_key", None)
    for service in merged["services"].values():
        service.get("environment", {}).pop("MASTER_KEY_FILE", None)
        if "secrets" in service:
            service["secrets"] = [one for one in service["secrets"] if one["source"] != "master_key"]


def _without_ports(merged: Mapping[str, Any]) -> None:
    """Remove the ports of services that a stack file has behind a proxy: a further file cannot do that."""
    for service in merged["services"].values():
        if service.get("deploy", {}).get("labels", {}).get(_LABEL_OF_PORTS) == "false":
            service.pop("ports", None)


def _never_roll_back(merged: Mapping[str, Any]) -> None:
    for service in merged["services"].values():
        config = service.get("deploy", {}).get("update_config", {})
        if config.get("failure_action") == "rollback":
            config["failure_action"] = "continue"

"""The commands of operators for the deployment on a swarm, such as `swarm deploy`."""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path

import click

from vault.clients.swarm.deployment import images, secret_rotation
from vault.clients.swarm.deployment.certificates import Pair
from vault.clients.swarm.deployment.check import CHECKS, FAILED, NOT_CHECKED, OK, SwarmCheck
from vault.clients.swarm.deployment.deploy import Deployed, Deployment
from vault.clients.swarm.deployment.jobs import CommandFailedError, Job, Jobs
from vault.clients.swarm.deployment.key_rotation import KeyRotation
from vault.clients.swarm.deployment.manager import STACK, Progress
from vault.clients.swarm.deployment.plan import Difference
from vault.clients.swarm.deployment.ports import Ports
from vault.clients.swarm.deployment.program import DeploymentError, Program
from vault.clients.swarm.deployment.record import Records
from vault.clients.swarm.deployment.stack import DeployedStack
from vault.common.outcomes import Exit
from vault.toolkit.cli.connection import address_options, read_token
from vault.toolkit.cli.output import Output, output_options

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_COMMAND = re.compile("[a-z]+(-[a-z]+)*")
_READ = click.Path(exists=True, dir_okay=False, path_type=Path)

_checkout_option = click.option(
    "--checkout",
    metavar="FOLDER",
    type=_FOLDER,
    default=".",
    help="The checkout with stack.yml.  [default: this folder]",
)


@contextmanager
def _connected(output: Output) -> Iterator[Jobs]:
    """Connect to the manager, and remove all jobs after the block."""
    if "DOCKER_HOST" not in os.environ:
        Program().use_context()
    with closing(DeployedStack(Progress(output.note))) as stack, closing(Jobs(stack, Program())) as jobs:
        yield jobs


@click.command()
@click.argument("files", metavar="[STACKFILE]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--plan", "is_plan", is_flag=True, help="Only show what would change.")
@click.option("--again", is_flag=True, help="Take stack files and variables of the last deployment.")
@_checkout_option
@click.option("--tls-cert", metavar="FILE", type=_READ, help="A certificate with its chain, in PEM.")
@click.option("--tls-key", metavar="FILE", type=_READ, help="The key of the certificate, without a password.")
@click.option("--no-tls", "drops_pair", is_flag=True, help="Remove the service's certificate.")
@output_options
def deploy(
    files: tuple[Path, ...],
    is_plan: bool,
    again: bool,
    checkout: Path,
    tls_cert: Path | None,
    tls_key: Path | None,
    drops_pair: bool,
    output: Output,
) -> None:
    """Deploy for production, or update.

    Run it on a manager of a swarm. It builds the image, creates missing Docker secrets, deploys stack.yml,
    deploy/stack.secure.yml and each STACKFILE, waits until the service is ready, and creates the first admin
    token. You can run it again, also to update: it restarts MongoDB's members one at a time, and only if
    their settings or image have changed. With a stack file that sets MASTER_KEYRING_FILE, such as
    deploy/stack.custody.yml, the service gets a keyring file and no master key. The path of a STACKFILE
    begins in the checkout.

    With --tls-cert and --tls-key, the service has TLS. Later deployments keep the certificate; a new one
    replaces the replicas one at a time.

    First, `config check` checks the settings in the image. The stack files, and the variables that they read,
    except secrets, are recorded as a Docker config: with --again, any manager deploys from it, without a
    checkout. What you export replaces what is on record.

    These variables have the rest; the stack files read further ones, such as PUBLISHED_PORT:

    \b
    IMAGE                 an image in a registry that all nodes can reach;
                          required with several nodes  [default: build one]
    REPLICAS              the number of replicas
                          [default: the current number, or 2]
    MASTER_KEY            the first master key
                          [default: a running quick start's, or a new one]
    MASTER_KEY_SECRET     the Docker secret with the master key, of several
    KEYRING_CONFIG        the Docker config with the keyring file
                          [default: the current one, or keyring_v1]
    IMAGES_FILE           the digests of `swarm pin-images`; exported
                          variables take precedence  [default: images.env]
    DOCKER_BUILD_OPTIONS  options for docker build
    DOCKER_HOST           the Docker engine, if not the default one
    """
    paths = [checkout.resolve() / file for file in files]
    if not all(os.access(path, os.R_OK) and path.is_file() for path in paths):
        raise click.UsageError("There is no such stack file.")
    if again and files:
        raise click.UsageError("With --again, the stack files are those on record.")
    if bool(tls_cert) != bool(tls_key) or (tls_cert and drops_pair):
        raise click.UsageError("Use --tls-cert with --tls-key, or --no-tls.")
    pair = Pair.read(tls_cert, tls_key) if tls_cert and tls_key else None

    def tell(deployed: Deployed) -> None:
        lines = [deployed.steps]
        if deployed.token:
            lines = [
                "The first token, with the role admin. It is not shown again:",
                deployed.token,
                deployed.steps,
            ]
        data = {"replicas": deployed.replicas, "first_token": deployed.token or None}
        output.result(data, "\n".join(filter(None, lines)))

    with _connected(output) as jobs:
        here = nullcontext((checkout.resolve(), paths))
        sources = Records(jobs.stack).required().restored() if again else here
        with sources as (folder, stack_files):
            deployment = Deployment(
                jobs, checkout=folder, files=stack_files, tell=tell, pair=pair, drops_pair=drops_pair
            )
            if is_plan:
                _show_plan(output, list(deployment.plan()))
            else:
                deployment.run()


def _show_plan(output: Output, found: list[Difference]) -> None:
    if found:
        output.table({"of": "place", "what": "what", "now": "now", "then": "then"}, map(asdict, found))
    else:
        output.text("Nothing would change.")


@click.command("rotate-key")
@output_options
def rotate_key(output: Output) -> None:
    """Rotate the deployed service's master key.

    Run it on a manager of the swarm. It adds a new key to every replica, encrypts under it, rewraps every
    secret, and removes the earlier key. Each step starts only once the one before has reached every worker.
    If interrupted, run it again: it resumes. If the service has a keyring file, each step edits a copy of it,
    which becomes the next Docker config. If the copy was recorded but is lost, the next run says that the
    file is not the newest one: run `secret-manager swarm run keys custody check --accept`, and then this.

    \b
    OPERATOR_SECRETS  for a keyring file, Docker secrets with credentials that
                      may wrap a key, if the replicas' own may only unwrap;
                      separated by spaces, such as
                      TRANSIT_TOKEN=operator_token
    DOCKER_HOST       the Docker engine, if not the default one
    """
    with _connected(output) as jobs:
        KeyRotation(jobs).run()
    output.result({"rotated": True}, "The master key is rotated.")


@click.command(context_settings={"allow_interspersed_args": False})
@click.argument("command")
@click.argument("arguments", metavar="[ARGUMENT]...", nargs=-1, type=click.UNPROCESSED)
@output_options
def run(command: str, arguments: tuple[str, ...], output: Output) -> None:
    """Run a command of secret-manager in a job.

    COMMAND, such as `backup`, runs once on this manager, on the deployed service's networks, with its image,
    secrets and mounts, as your user. It sees only the current folder, so name files without a path. The exit
    code is its own, or 1 if it did not start.

    \b
    MONGO_URI    a database in place of the service's, without a password
    DOCKER_HOST  the Docker engine, if not the default one
    """
    if not _COMMAND.fullmatch(command):
        raise click.UsageError("Expected a command, such as `backup`.")
    user, group = os.getuid(), os.getgid()
    with _connected(output) as jobs:
        container = jobs.like_service(user, group)
        uri = os.environ.get("MONGO_URI")
        if uri:
            rest = [one for one in container["Env"] if not one.startswith("MONGO_URI_FILE=")]
            container["Env"] = [*rest, f"MONGO_URI={uri}"]
        container["Mounts"] = [
            *container["Mounts"],
            {"Type": "bind", "Source": str(Path.cwd()), "Target": "/work"},
        ]
        job = Job(
            image=jobs.stack.image(),
            arguments=(command, *arguments),
            container={**container, "User": f"{user}:{group}", "Dir": "/work"},
            networks=(f"{STACK}_secret-manager-network",),
            is_here=True,
        )
        try:
            jobs.show(job)
        except CommandFailedError as error:
            output.note(str(error))
            sys.exit(error.status or Exit.FAILED)


@click.command("rotate-secret", context_settings={"allow_interspersed_args": False})
@click.argument("name")
@click.argument("arguments", metavar="[FILE|-] [OPTION]...", nargs=-1, type=click.UNPROCESSED)
@output_options
def rotate_secret(name: str, arguments: tuple[str, ...], output: Output) -> None:
    """Run `swarm rotate` beside a replica.

    Stores the content of FILE, or of standard input (-), as the new value of the secret NAME, and restarts,
    one after another, the services of this swarm that have the old one. If one is not healthy, value and
    services are rolled back. Without FILE, asks for the value. Each OPTION is one of `swarm rotate`, such as
    --generate 32.

    It runs in a container of the service's image on this manager, where a replica must run; for a service
    that is elsewhere, export VAULT_URL. The token comes from VAULT_TOKEN, or is asked for.

    \b
    VAULT_TOKEN   the token; docs/swarm-rotation.md has its scopes
    VAULT_ROLE    the role, if the token is a JWT that matches several
    VAULT_CACERT  a file with the certificate authority of the service
    IMAGE         the image, with VAULT_URL
    DOCKER_HOST   the Docker engine, a socket of this machine
    """
    file = None
    if arguments and (arguments[0] == "-" or not arguments[0].startswith("-")):
        file, arguments = arguments[0], arguments[1:]
    if file not in (None, "-") and not os.access(str(file), os.R_OK):
        raise click.UsageError("There is no such file.")
    if any(one.startswith("--ca-cert") for one in arguments):
        raise DeploymentError(
            "the command runs in a container", hint="export VAULT_CACERT instead of --ca-cert"
        )
    options = [name, *(("--json",) if output.as_json else ()), *(("--quiet",) if output.quiet else ())]
    with _connected(output) as jobs:
        where = secret_rotation.place(jobs.stack)
        token = os.environ.get("VAULT_TOKEN") or _asked()
        with click.open_file(file or os.devnull, "rb") as value:
            secret_rotation.rotate(
                jobs.program,
                where,
                token=token,
                arguments=[*options, *arguments],
                value=value if file else None,
                is_typed=file is None and sys.stdin.isatty(),
            )


def _asked() -> str:
    if not sys.stdin.isatty():
        raise DeploymentError("there is no terminal to ask for the token", hint="export VAULT_TOKEN")
    return str(click.prompt("Token", hide_input=True, err=True))


@click.command("pin-images")
@_checkout_option
@output_options
def pin_images(checkout: Path, output: Output) -> None:
    """Pin third-party images by digest.

    Asks the registry for the current digest of every third-party image that the deployment runs or builds
    from, and writes them to images.env. `swarm deploy` then uses these digests even if the tags move. Run
    this again to take newer images. Requires Docker with buildx, and access to the registry.

    \b
    IMAGES_FILE  the file to write  [default: images.env in the checkout]
    """
    file = checkout / (os.environ.get("IMAGES_FILE") or images.FILE)
    text = images.pin(checkout, file, Program())
    output.result({"file": str(file), "images": text.splitlines()}, text.rstrip())


@click.command("check-deployment")
@click.option(
    "--skip",
    "skipped",
    metavar="CHECK",
    type=click.Choice(CHECKS),
    multiple=True,
    help="Leave a check out. Can be repeated.",
)
@address_options
@output_options
def check_deployment(
    skipped: tuple[str, ...],
    url: str | None,
    token_file: Path | None,
    ca_cert: Path | None,
    jwt_role: str,
    output: Output,
) -> None:
    """Check the deployment on all nodes.

    Run it on a manager of the swarm. It prints a line for each result:

    \b
    nodes      each node is ready
    networks   overlay networks are encrypted
    members    each MongoDB member runs, on a node of its own that is ready
    requests   a secret that is created at one node's published port can be
               fetched at every other one
    addresses  each replica records the client's address in the audit trail,
               not that of a proxy or of the swarm

    The secrets have random values and names such as check-swarm/0123456789abcdef/1. They are deleted and
    purged at the end, also after a failure or Ctrl-C; otherwise, they expire after an hour.

    The token needs the scopes secret:create, secret:fetch, secret:delete, secret:purge and audit:read, as the
    role admin has. To create one for this command alone, run in a replica:

    \b
    secret-manager tokens create --name check-swarm --path check-swarm/ \\
      --expires-in 1h --scope secret:create --scope secret:fetch \\
      --scope secret:delete --scope secret:purge --scope audit:read

    --url is needed only if the service itself has a certificate, for the name in the certificate.
    """
    counts: Counter[str] = Counter()

    def report(result: str, text: str) -> None:
        counts[result] += 1
        output.result({"result": result, "text": text}, f"{result:13}{text}")

    with _connected(output) as jobs:
        check = SwarmCheck(stack=jobs.stack, program=jobs.program, report=report, skipped=skipped)
        headers = {}
        base = "http://localhost"
        if "requests" not in skipped:
            headers = _headers(token_file, jwt_role)
            base = _base(url) if check.publication.has_certificate else base
        check.run(lambda port: Ports(port, url=base, ca_cert=str(ca_cert or ""), headers=headers))
    ok, failed, not_checked = (counts[one] for one in (OK, FAILED, NOT_CHECKED))
    output.text(f"{ok} ok, {failed} failed, {not_checked} not checked")
    sys.exit(bool(failed))


def _base(url: str | None) -> str:
    if not url or not url.startswith("https://"):
        raise DeploymentError(
            "the service has a certificate",
            hint="export its URL as VAULT_URL, such as https://secrets.example.com",
        )
    return url


def _headers(token_file: Path | None, role: str) -> dict[str, str]:
    token = read_token(token_file) if token_file else os.environ.get("VAULT_TOKEN", "").strip() or _asked()
    if not re.fullmatch(r"\S+", token) or not token.isprintable():
        raise DeploymentError("the token contains whitespace or control characters")
    return {"Authorization": f"Bearer {token}", **({"X-Role": role} if role else {})}

"""Use a secret through a cache, with OpenAPI Generator's client: `python cached_secret.py NAME`.

Each line of standard input uses the secret: `use`, or `refused` after a failed login. With `RECEIPTS_FILE`,
the service signs what it has delivered.
"""

import base64
import os
import sys
from pathlib import Path

import urllib3
from openapi_client import ApiClient, ApiException, Configuration, FetchBatch, SecretsApi, VersionReference
from secret_cache import Secret, SecretCache, UnavailableError

RECEIPTS_FILE = os.environ.get("RECEIPTS_FILE")

client = ApiClient(Configuration(host=os.environ["VAULT_URL"], access_token=os.environ["VAULT_TOKEN"]))
if RECEIPTS_FILE:
    client.set_default_header("X-Receipt", "1")
secrets = SecretsApi(client)


def fetch(name: str) -> Secret:
    """Fetch the newest version. A batch, unlike a single fetch, says which version it is."""
    try:
        batch = secrets.fetch_secrets(FetchBatch(secrets=[VersionReference(name=name)]), _request_timeout=10)
    except ApiException as error:
        if error.status in (429, 503):
            raise UnavailableError(float(error.headers.get("Retry-After", 1))) from None
        raise
    except urllib3.exceptions.HTTPError:
        raise UnavailableError(1) from None
    [item] = batch.secrets
    if item.problem:
        raise LookupError(f"{name}: {item.problem.code}")
    if RECEIPTS_FILE:
        with Path(RECEIPTS_FILE).open("a") as file:
            file.write(f"{batch.receipts[0]}\n")
    return Secret(base64.b64decode(item.secret), item.version)


def main() -> None:
    """Use the secret for each line."""
    cache = SecretCache(fetch, max_age=float(os.environ.get("MAX_AGE_SECONDS", "300")))
    name = sys.argv[1]
    secret = None
    for line in sys.stdin:
        secret = cache.get(name, refused=secret if line.strip() == "refused" else None)
        # A program would log in with `secret.value` here.
        print("using version", secret.version, flush=True)


main()

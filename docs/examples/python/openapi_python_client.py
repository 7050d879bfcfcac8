"""Store, read and list secrets, and create a token, with openapi-python-client's client."""

import os

from secret_manager_client import AuthenticatedClient
from secret_manager_client.api.secrets import (
    create_secret,
    fetch_secret,
    fetch_secrets,
    list_secrets,
    update_secret,
)
from secret_manager_client.api.tokens import create_token
from secret_manager_client.models import (
    FetchBatch,
    ListQuery,
    NewSecret,
    NewToken,
    NewTokenRole,
    NewVersion,
    Problem,
    VersionReference,
)

folder = os.environ["FOLDER"]
with AuthenticatedClient(os.environ["VAULT_URL"], os.environ["VAULT_TOKEN"]) as client:
    created = create_secret.sync(client=client, body=NewSecret("b2xk", name=f"{folder}/password"))
    fetched = fetch_secret.sync(client=client, body=VersionReference(secret_id=created.secret_id))
    print("fetched", fetched.secret)

    update = NewVersion("bmV3", name=f"{folder}/password", expected_version=1)
    print("updated to version", update_secret.sync(client=client, body=update).version)
    conflict = update_secret.sync(client=client, body=update)
    if isinstance(conflict, Problem):
        print("refused", conflict.status, conflict.code)

    page = list_secrets.sync(client=client, body=ListQuery(name_prefix=f"{folder}/"))
    print("listed", *(secret.name for secret in page.secrets))

    batch = fetch_secrets.sync(client=client, body=FetchBatch(name_prefix=f"{folder}/"))
    print("fetched together", *(item.secret for item in batch.secrets))

    token = create_token.sync(client=client, body=NewToken(folder, NewTokenRole.READER)).token
    print("created a token", token[:4])

    missing = fetch_secret.sync(client=client, body=VersionReference(name=f"{folder}/missing"))
    if isinstance(missing, Problem):
        print("refused", missing.status, missing.code)

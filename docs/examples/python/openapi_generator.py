"""Store, read and list secrets, and create a token, with OpenAPI Generator's Python client."""

import os

from openapi_client import (
    ApiClient,
    ApiException,
    Configuration,
    FetchBatch,
    ListQuery,
    NewSecret,
    NewToken,
    NewVersion,
    SecretsApi,
    TokensApi,
    VersionReference,
)

folder = os.environ["FOLDER"]
configuration = Configuration(host=os.environ["VAULT_URL"], access_token=os.environ["VAULT_TOKEN"])
with ApiClient(configuration) as client:
    secrets = SecretsApi(client)

    created = secrets.create_secret(NewSecret(secret="b2xk", name=f"{folder}/password"))
    print("fetched", secrets.fetch_secret(VersionReference(secret_id=created.secret_id)).secret)

    update = NewVersion(name=f"{folder}/password", secret="bmV3", expected_version=1)
    print("updated to version", secrets.update_secret(update).version)
    try:
        secrets.update_secret(update)
    except ApiException as error:
        print("refused", error.status, error.data.code)

    page = secrets.list_secrets(ListQuery(name_prefix=f"{folder}/"))
    print("listed", *(secret.name for secret in page.secrets))

    batch = secrets.fetch_secrets(FetchBatch(name_prefix=f"{folder}/"))
    print("fetched together", *(item.secret for item in batch.secrets))

    token = TokensApi(client).create_token(NewToken(name=folder, role="reader")).token
    print("created a token", token[:4])

    try:
        secrets.fetch_secret(VersionReference(name=f"{folder}/missing"))
    except ApiException as error:
        print("refused", error.status, error.data.code)

"""Create, read and list secrets over Vault's API, with hvac."""

import os

import hvac

client = hvac.Client("http://localhost:8000", token=os.environ["VAULT_TOKEN"])
kv = client.secrets.kv.v2
kv.create_or_update_secret("shop/db", {"user": "app", "password": "a password"}, cas=0)
secret = kv.read_secret_version("shop/db", raise_on_deleted_version=True)["data"]
print(secret["metadata"]["version"], secret["data"]["user"])
try:
    kv.create_or_update_secret("shop/db", {"user": "other"}, cas=0)
except hvac.exceptions.InvalidRequest as error:
    print(error.errors[0])
print(kv.list_secrets("shop")["data"]["keys"])

"""The original design, modernized with PyMongo's asynchronous driver."""

import os
from typing import Any

from fastapi import FastAPI, Request
from original import NewSecret, Reference, decrypted, encrypted, entry
from pymongo import AsyncMongoClient

app = FastAPI()
client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(
    os.environ["MONGO_URI"], w="majority", journal=True
)
database = client.get_default_database()


@app.get("/health/ready")
async def ready() -> dict[str, str]:
    """Report readiness."""
    await database.command("ping")
    return {"status": "ok"}


@app.post("/vault/secret/create/")
async def create(body: NewSecret, request: Request) -> dict[str, str]:
    """Encrypt and store the secret, record the operation, return the ID."""
    secret = encrypted(body)
    await database.secrets.insert_one(secret)
    await database.audit_logs.insert_one(entry("create", secret["_id"], request))
    return {"secret_id": secret["_id"]}


@app.post("/vault/secret/fetch")
async def fetch(body: Reference, request: Request) -> dict[str, str]:
    """Read and decrypt the secret, record the operation, return the value."""
    secret_id = str(body.secret_id)
    plaintext = decrypted(await database.secrets.find_one({"_id": secret_id}))
    await database.audit_logs.insert_one(entry("fetch", secret_id, request))
    return {"secret": plaintext}

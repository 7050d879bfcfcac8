"""The original design: FastAPI and PyMongo, one round trip per step, AES-256-GCM under one key.

Its PyMongo version, 4.7, is synchronous, so FastAPI runs its views in threads.
"""

import os
from base64 import b64decode, b64encode
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID, uuid4

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from fastapi import FastAPI, HTTPException, Request
from pydantic import AfterValidator, BaseModel
from pymongo import MongoClient

_NONCE_SIZE = 12

app = FastAPI()
_cipher = AESGCM(b64decode(os.environ["MASTER_KEY"]))
client: MongoClient[dict[str, Any]] = MongoClient(os.environ["MONGO_URI"], w="majority", journal=True)
database = client.get_default_database()


def _base64(text: str) -> str:
    b64decode(text, validate=True)
    return text


class NewSecret(BaseModel):
    """A secret to store."""

    secret: Annotated[str, AfterValidator(_base64)]


class Reference(BaseModel):
    """A reference to a secret."""

    secret_id: UUID


@app.get("/health/ready")
def ready() -> dict[str, str]:
    """Report readiness."""
    database.command("ping")
    return {"status": "ok"}


@app.post("/vault/secret/create/")
def create(body: NewSecret, request: Request) -> dict[str, str]:
    """Encrypt and store the secret, record the operation, return the ID."""
    secret = encrypted(body)
    database.secrets.insert_one(secret)
    database.audit_logs.insert_one(entry("create", secret["_id"], request))
    return {"secret_id": secret["_id"]}


@app.post("/vault/secret/fetch")
def fetch(body: Reference, request: Request) -> dict[str, str]:
    """Read and decrypt the secret, record the operation, return the value."""
    secret_id = str(body.secret_id)
    plaintext = decrypted(database.secrets.find_one({"_id": secret_id}))
    database.audit_logs.insert_one(entry("fetch", secret_id, request))
    return {"secret": plaintext}


def encrypted(body: NewSecret) -> dict[str, Any]:
    """Return the document to store."""
    nonce = os.urandom(_NONCE_SIZE)
    ciphertext = nonce + _cipher.encrypt(nonce, b64decode(body.secret), None)
    return {"_id": str(uuid4()), "ciphertext": ciphertext, "created_at": datetime.now(UTC)}


def decrypted(found: dict[str, Any] | None) -> str:
    """Return the decrypted value of the document *found*."""
    if found is None:
        raise HTTPException(404, "Secret not found")
    ciphertext = found["ciphertext"]
    return b64encode(_cipher.decrypt(ciphertext[:_NONCE_SIZE], ciphertext[_NONCE_SIZE:], None)).decode()


def entry(action: str, secret_id: str, request: Request) -> dict[str, Any]:
    """Return an audit entry."""
    return {
        "ts": datetime.now(UTC),
        "action": action,
        "status": "success",
        "secret_id": secret_id,
        "ip": request.client.host if request.client else "",
        "ua": request.headers.get("User-Agent", ""),
    }

"""The design that users know: FastAPI and PyMongo, one round trip a step, AES-256-GCM under one key."""

import os
from base64 import b64decode, b64encode
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID, uuid4

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from fastapi import FastAPI, HTTPException, Request
from pydantic import AfterValidator, BaseModel
from pymongo import AsyncMongoClient

_NONCE_SIZE = 12

app = FastAPI()
cipher = AESGCM(b64decode(os.environ["MASTER_KEY"]))
client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(
    os.environ["MONGO_URI"], w="majority", journal=True
)
database = client.get_default_database()


def _base64(text: str) -> str:
    b64decode(text, validate=True)
    return text


class NewSecret(BaseModel):
    """A secret to keep."""

    secret: Annotated[str, AfterValidator(_base64)]


class Reference(BaseModel):
    """Which secret."""

    secret_id: UUID


@app.get("/health/ready")
async def ready() -> dict[str, str]:
    """Answer."""
    await database.command("ping")
    return {"status": "ok"}


@app.post("/vault/secret/create/")
async def create(body: NewSecret, request: Request) -> dict[str, str]:
    """Encrypt, store, record, answer."""
    secret_id = str(uuid4())
    nonce = os.urandom(_NONCE_SIZE)
    ciphertext = nonce + cipher.encrypt(nonce, b64decode(body.secret), None)
    await database.secrets.insert_one(
        {"_id": secret_id, "ciphertext": ciphertext, "created_at": datetime.now(UTC)}
    )
    await _record("create", secret_id, request)
    return {"secret_id": secret_id}


@app.post("/vault/secret/fetch")
async def fetch(body: Reference, request: Request) -> dict[str, str]:
    """Read, decrypt, record, answer."""
    secret_id = str(body.secret_id)
    found = await database.secrets.find_one({"_id": secret_id})
    if found is None:
        raise HTTPException(404, "Secret not found")
    ciphertext = found["ciphertext"]
    plaintext = cipher.decrypt(ciphertext[:_NONCE_SIZE], ciphertext[_NONCE_SIZE:], None)
    await _record("fetch", secret_id, request)
    return {"secret": b64encode(plaintext).decode()}


async def _record(action: str, secret_id: str, request: Request) -> None:
    await database.audit_logs.insert_one(
        {
            "ts": datetime.now(UTC),
            "action": action,
            "status": "success",
            "secret_id": secret_id,
            "ip": request.client.host if request.client else "",
            "ua": request.headers.get("User-Agent", ""),
        }
    )

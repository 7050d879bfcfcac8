"""The performance ceiling of Flask: read JSON and return JSON, with nothing in between."""

from typing import Any

from flask import Flask, request

app = Flask(__name__)


@app.get("/health/ready")
def ready() -> dict[str, str]:
    """Report readiness."""
    return {"status": "ok"}


@app.post("/vault/secret/create/")
def create() -> dict[str, Any]:
    """Read a secret and return a fixed ID."""
    request.get_json()["secret"]
    return {"secret_id": "550e8400-e29b-41d4-a716-446655440000"}


@app.post("/vault/secret/fetch")
def fetch() -> dict[str, Any]:
    """Read an ID and return a fixed secret."""
    request.get_json()["secret_id"]
    return {"secret": "bXlfc2VjcmV0X3Bhc3N3b3Jk"}

"""What Flask costs by itself: reads JSON, answers JSON, and does nothing in between."""

from typing import Any

from flask import Flask, request

app = Flask(__name__)


@app.get("/health/ready")
def ready() -> dict[str, str]:
    """Answer."""
    return {"status": "ok"}


@app.post("/vault/secret/create/")
def create() -> dict[str, Any]:
    """Take a secret and answer an id."""
    request.get_json()["secret"]
    return {"secret_id": "550e8400-e29b-41d4-a716-446655440000"}


@app.post("/vault/secret/fetch")
def fetch() -> dict[str, Any]:
    """Take an id and answer a secret."""
    request.get_json()["secret_id"]
    return {"secret": "bXlfc2VjcmV0X3Bhc3N3b3Jk"}

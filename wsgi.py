"""The application for WSGI servers: `gunicorn wsgi:app`."""

from vault.app import from_environment

app = from_environment()

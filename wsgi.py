"""The application for a WSGI server: `gunicorn wsgi:app`."""

from vault.app import from_environment

app = from_environment()

"""The prefixes of the paths of operations, and the forms of errors below them."""

from collections.abc import Callable
from dataclasses import dataclass

from flask import Flask, Response

#: The prefix of the REST API.
REST = "/vault/"

#: Of the console, if there is one.
CONSOLE = "/console/"

#: Key of the application's extensions: the forms of errors by the prefixes of other APIs.
FORMS = "secret-manager-forms"


@dataclass(frozen=True, slots=True)
class Form:
    """Another form of errors than problem details."""

    #: Returns the reply that refuses a request because of an error.
    reply: Callable[[Exception], Response]
    #: What the OpenAPI document says of it: a sentence.
    description: str


def operations(app: Flask) -> tuple[str, ...]:
    """Return the prefixes of the APIs of *app*.

    Their replies are not stored, and their operations record a refused address themselves.
    """
    return (REST, *app.extensions[FORMS])

"""The steps of a rotation."""

from enum import StrEnum


class Step(StrEnum):
    """A step that a run has completed, as its plan has it. Unset between two runs."""

    #: The new password is stored, encrypted, and nowhere else.
    GENERATED = "generated"
    #: The source has it, for the user that is not in use.
    SET = "set"
    #: The user has logged in with it.
    PROVED = "proved"
    #: The secret has it. The former user can still log in.
    PUBLISHED = "published"


class Work(StrEnum):
    """A part of a run, by its name in the trail."""

    GENERATE = "generate"
    SET = "set"
    LOGIN = "login"
    PUBLISH = "publish"
    CLOSE = "close"
    #: The daily login.
    CHECK = "check"

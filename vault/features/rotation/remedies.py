"""Remedies: what a person does about a plan that does not run."""

from collections.abc import Mapping

#: By a part of the reason of a failure, or by the state of an altered plan.
REMEDIES: Mapping[str, str] = {
    "the server does not have the user": "Create both users.",
    "the administrator may not change the user's password": (
        "Give it the right; from PostgreSQL 16 on, ADMIN OPTION for both users."
    ),
    "strict_password_validation": "Turn it off: MariaDB gets only hashes, which it cannot check.",
    "TLS to the server fails": "Check the authority's file, and that the certificate has the host's name.",
    "the source does not answer within": "Check the network; the service retries.",
    "names another server": "If the change is right, create the plan again.",
    "the secret does not exist": "Restore it and run the plan, or delete the plan.",
    "someone has changed it there": "Store the right password, or set it again at the source.",
    "someone has put back earlier documents": "Find out who; store the value in use as the next version.",
    "altered": "Someone changed the plan in MongoDB: find out who, delete it and create it again.",
}


def remedy_of(state: str, error: str) -> str:
    """Return what to do about a plan with this *state* and last *error*; empty if that is unknown."""
    reason = state if state in REMEDIES else error
    return next((remedy for part, remedy in REMEDIES.items() if part in reason), "")

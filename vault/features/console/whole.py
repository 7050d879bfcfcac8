"""Pages about all namespaces."""

from vault.common.errors import OutsidePathsError
from vault.core.attempt import Attempt
from vault.core.secrets.reach import ANOTHER_NAMESPACE, require_folder


def require_all(refusal: str, attempt: Attempt) -> None:
    """Require that the principal of *attempt* sees the whole trail.

    Raises:
        OutsidePathsError: It does not; the message is *refusal*.
    """
    require_folder("", attempt)
    if not attempt.principal.sees_all_entries:
        attempt.details["reason"] = ANOTHER_NAMESPACE
        raise OutsidePathsError(refusal)

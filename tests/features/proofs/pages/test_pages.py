"""The last answers of witnesses on the console's page of a period."""

from tests.support.console import SignIn
from vault.common.outcomes import Status
from vault.core.attempt import Action, Attempt
from vault.core.principal import SERVICE


def test_the_witnesses_of_a_period_are_shown(signed_in: SignIn) -> None:
    """They are on the page of those who see the whole trail, and of no one else."""
    person = signed_in()
    assert "Witnesses" not in person.get("activity").text
    details = {"witness": "tsa.example:443"}
    Attempt(action=Action.AUDIT_WITNESSED, principal=SERVICE, details=details).finish(Status.SUCCESS)
    page = person.get("activity", days="30").text
    assert "<h2>Witnesses</h2>" in page
    assert "tsa.example:443" in page
    limited = signed_in("limited", scopes=("audit:read",), paths=("other/",))
    assert "tsa.example" not in limited.get("activity").text

"""A new kind of events is one entry in one file."""

import subprocess
import sys

import pytest

from tests.features.webhooks.conftest import Subscribe, turn
from tests.features.webhooks.new_kind import HAPPENED, INVENTED
from tests.features.webhooks.receiver import Receiver
from tests.support.lifecycle import ALICE
from vault.common import feature
from vault.common.outcomes import Status
from vault.core.attempt import Attempt
from vault.features.webhooks.sender import Sender

#: A process with the feature: what it accepts, shows and documents.
_PROGRAM = """
import vault.features
from tests.features.webhooks.new_kind import INVENTED
vault.features.FEATURES += (INVENTED,)
from click.testing import CliRunner
from tests.features.webhooks.test_document import table
from vault.cli import commands
from vault.features.webhooks import api, pages
for schema in (api.NewWebhookSchema(), pages._NewWebhook()):
    print(schema.fields["events"].inner.validate.choices[-1])
print(CliRunner().invoke(commands, ["webhooks", "create", "https://a.example/", "--event", "x"]).stderr)
print(table())
"""


@pytest.mark.process
def test_one_entry_makes_a_kind_that_webhooks_can_ask_for() -> None:
    """The API, the console, the command and the document have the kind."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    of_api, of_console, *rest = done.stdout.splitlines()
    assert of_api == of_console == HAPPENED.name
    refused, documented = "\n".join(rest).split("| kind |")
    assert HAPPENED.name in refused
    assert f"| `{HAPPENED.name}` | {HAPPENED.when} |" in documented


def test_its_events_are_sent(
    sender: Sender, subscribe: Subscribe, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry of its action arrives as an event."""
    rest = feature.features()
    monkeypatch.setattr(feature, "features", lambda: (*rest, INVENTED))
    subscribe(HAPPENED.name)
    details = {"name": "billing/db", "namespace": "default", "value": "hunter2"}
    Attempt(action=HAPPENED.action, principal=ALICE, details=details).finish(Status.SUCCESS)
    turn(sender)
    assert [(event["type"], event["data"]["name"]) for _, event in hook.events] == [
        ("invented.happened", "billing/db")
    ]
    assert b"hunter2" not in b"".join(hook.bodies)

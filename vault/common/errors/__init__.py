"""The errors that this package raises on purpose.

A class is all that there is about an error: its kind, outcome in the audit trail and exit code, and, if
callers of the API learn of it, its `refusal`, of which replies, the OpenAPI document, the page of the
problem and commands are made. A message says what is wrong, then what to do: its hint. It never contains a
value, a key, a token or a secret's ID, because messages reach replies and logs.

A message that a reply quotes as its `detail` is a sentence. A message for operators follows a prefix, such as
`error:` or `not serving:`, so it begins in lower case and has no full stop.
"""

# ruff: noqa: F403 - every error is imported from here, wherever it is defined
from vault.common.errors.access import *
from vault.common.errors.base import VaultError as VaultError
from vault.common.errors.commands import *
from vault.common.errors.operation import *
from vault.common.errors.secrets import *

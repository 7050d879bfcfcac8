"""Labels of secrets: their form."""

import re
from collections.abc import Mapping

from vault.core.text import is_one_line

#: The form of a label's key.
LABEL_KEY_PATTERN = "^[A-Za-z0-9_][A-Za-z0-9._/-]{0,62}$"
MAX_LABEL_LENGTH = 128

#: The maximum number of labels of a secret.
MAX_LABELS = 16


def are_labels(pairs: Mapping[str, str]) -> bool:
    """Return whether a secret can have all *pairs* as its labels."""
    return len(pairs) <= MAX_LABELS and all(_is_label(key, text) for key, text in pairs.items())


def _is_label(key: str, text: str) -> bool:
    # Not `match`: there, `$` accepts a trailing newline.
    is_key = re.fullmatch(LABEL_KEY_PATTERN, key) is not None
    return is_key and len(text) <= MAX_LABEL_LENGTH and is_one_line(text)

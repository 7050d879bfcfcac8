"""Labels of secrets: their form."""

from collections.abc import Mapping

from vault.common.text import is_one_line, visible_flaw

#: The maximum bytes of a label's key and of its text in UTF-8, and so of their characters.
MAX_KEY_BYTES = 128
MAX_TEXT_BYTES = 512

#: The maximum number of labels of a secret.
MAX_LABELS = 64


def are_labels(pairs: Mapping[str, str]) -> bool:
    """Return whether a secret can have all *pairs* as its labels."""
    return len(pairs) <= MAX_LABELS and not any(key_flaw(key) or text_flaw(pairs[key]) for key in pairs)


def key_flaw(key: str) -> str:
    """Return the rule that *key* breaks as a label's key, without it; empty for a valid one."""
    if key.strip() != key or not key or "=" in key:
        # It separates the key from the text, in the database and on the command line.
        return "must not be empty, contain =, or begin or end with a space"
    return visible_flaw(key, max_bytes=MAX_KEY_BYTES)


def text_flaw(text: str) -> str:
    """Return the rule that *text* breaks as a label's text, without it; empty for a valid one."""
    if not is_one_line(text):
        return "must be one line, without invisible characters"
    # One line has no half of a surrogate pair, which UTF-8 lacks.
    return f"must have at most {MAX_TEXT_BYTES} bytes in UTF-8" if len(text.encode()) > MAX_TEXT_BYTES else ""

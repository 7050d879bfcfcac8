"""Text for terminals."""


def printable(text: str) -> str:
    """Return *text* with control characters, and others that are not printed, escaped."""
    return "".join(character if character.isprintable() else f"\\u{ord(character):04x}" for character in text)

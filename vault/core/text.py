"""Text for terminals."""


def printable(text: str) -> str:
    """Return *text* with its unprintable characters escaped."""
    return "".join(character if character.isprintable() else f"\\u{ord(character):04x}" for character in text)

"""Parts of a reply: the client has its time for each of them, not for all together."""

#: Bytes of a part.
PART_BYTES = 16_384


def in_parts(content: bytes) -> list[bytes]:
    """Return *content* in parts, as the body of a reply."""
    return [content[start : start + PART_BYTES] for start in range(0, len(content), PART_BYTES)]

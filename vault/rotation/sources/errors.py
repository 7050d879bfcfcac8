"""Failures of sources. Their texts quote nothing that a source sends: it can repeat a statement."""


class SourceError(Exception):
    """A source did not do what it was asked for."""


class SourceRefusedError(SourceError):
    """The source answers, and refuses; the text says what."""


class SourceUnavailableError(SourceError):
    """The source cannot be reached, or does not answer in time."""

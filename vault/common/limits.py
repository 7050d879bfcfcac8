"""Limits of requests that the service and its own clients know."""

#: The maximum number of items in a request.
MAX_ITEMS = 100
#: The maximum of a read limit.
MAX_READS = 1_000
#: The maximum number of a version.
MAX_VERSION = 2**31 - 1

"""Limits of calls of those who vouch for callers: issuers of JWTs, and the provider of OpenID Connect."""

#: Maximum difference between the clocks of issuer and service.
LEEWAY_SECONDS = 30

#: Timeout of a call, and the pause after a failure.
FETCH_SECONDS = 3
RETRY_SECONDS = 10

#: Maximum number of requests that wait for one issuer. A waiting request holds a slot of its worker, and
#: anyone can make up a JWT: without a limit, an issuer that does not answer would hold all slots.
MAX_WAITING = 50

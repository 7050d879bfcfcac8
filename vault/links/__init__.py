"""Links for people without a credential: to a value that is shared once, and to a request for a value."""

"""Commands of people with a token."""

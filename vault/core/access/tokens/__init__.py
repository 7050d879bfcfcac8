"""Tokens: creating, listing, renewing and revoking them."""

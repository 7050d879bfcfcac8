"""The operations on issuers and roles, over HTTP."""

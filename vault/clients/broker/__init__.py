"""The broker: a forward proxy that attaches the values of secrets for programs which never get them."""

"""Events: the audit trail's changes, sent to webhooks."""

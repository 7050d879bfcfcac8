"""`secret-manager audit`: read, report, verify and switch the audit trail."""

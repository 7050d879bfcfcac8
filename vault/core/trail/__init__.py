"""The audit trail: writing, reading, following and verifying it."""

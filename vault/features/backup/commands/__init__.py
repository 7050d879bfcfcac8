"""The commands of backups, and their section of `audit report`."""

"""The entries of compaction in the tables of general tests."""

from tests.support.command_entries import of_mongodb

ENTRIES = {"audit compact": of_mongodb()}
SUCCESSES = ("audit compact",)

"""Random edits of a trail in MongoDB, by an attacker with full write access and no key.

The full size, on a MongoDB of its own: `python -m tests.qa.edits --count 500`; `--seed` repeats those of an
earlier run.
"""

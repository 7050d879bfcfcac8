"""The deployment on several nodes, of which some are lost: `pytest -m nodes tests/nodes`."""

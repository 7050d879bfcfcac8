"""The deployment on several nodes, of which some are lost: `pytest tests/qa/nodes`."""

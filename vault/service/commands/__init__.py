"""Commands of operators, which need the master key and MongoDB."""

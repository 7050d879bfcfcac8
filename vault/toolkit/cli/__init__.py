"""Building blocks of commands: output, exit codes, parameters and completion."""

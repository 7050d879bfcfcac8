"""Run `secret-manager` as `python -m vault.cli`."""

from vault.cli import main

main()

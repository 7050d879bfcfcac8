"""`python -m vault.cli` is `secret-manager`."""

from vault.cli import main

main()

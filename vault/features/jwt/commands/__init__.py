"""The commands `issuers …` and `roles …`."""

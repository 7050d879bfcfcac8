"""The client of the service, for the commands of people who have a token."""

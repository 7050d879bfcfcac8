"""The prefixes of the paths of operations."""

#: The prefix of the REST API.
REST = "/vault/"

#: Of Vault's dialect.
DIALECT = "/v1/"

#: Of the console, if there is one.
CONSOLE = "/console/"

#: Of both APIs: their replies are not stored, and their operations record a refused address themselves.
OPERATIONS = (REST, DIALECT)

"""The entries of Vault's API in the tables of general tests."""

from tests.features.dialect.leaks import speak_dialect

#: The beginning of its paths.
PREFIX = "/v1/"

#: Checks of the service, which answer every address.
PROBES = {"/v1/sys/health"}
#: The content type of a refusal, its field with the reason, and that of a refused address.
FORMS = {PREFIX: ("application/json", "errors", ["1 error occurred:\n\t* permission denied\n\n"])}

#: Operations that the OpenAPI document cannot show, as it has no `LIST`; and where there is nothing.
HIDDEN_OPERATIONS = {
    *("list_kv_secrets", "list_all_kv_secrets", "list_accessors"),
    *("unknown_kv_path", "unknown_kv_root", "unknown_path"),
}

#: Requests with marks, beside those of REST, and the kinds of marks that their replies have.
SPEAK = speak_dialect
FOUND = {"wrapping token", "JWT"}

"""The names of the providers' settings, apart from the providers: their libraries take time to load."""

from vault.core.processes import CREDENTIALS

#: Secret ones. Each of them also has a form with the suffix `_FILE`.
SECRET = (*CREDENTIALS, "AWS_ACCESS_KEY_ID")

#: All of them; those of AWS have AWS's names.
SETTINGS = (
    *SECRET,
    *("PKCS11_MODULE", "TRANSIT_CA"),
    *("AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_SESSION_NAME", "AWS_ENDPOINT_URL_STS"),
    *("AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
    *("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_ENDPOINT_URL_KMS"),
)

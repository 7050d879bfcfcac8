"""Building blocks of the OpenAPI document: fields, errors and headers."""

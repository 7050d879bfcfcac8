"""The features of the service: each a folder, and one name in this list, which is their order everywhere."""

from vault.common.feature import Feature

FEATURES: tuple[Feature, ...] = ()

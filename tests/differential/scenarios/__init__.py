"""All scenarios."""

from tests.differential.scenarios.callers import CALLERS, SYSTEM
from tests.differential.scenarios.metadata import METADATA
from tests.differential.scenarios.routes import LISTS, ROUTES
from tests.differential.scenarios.tokens import TOKENS
from tests.differential.scenarios.values import VALUES
from tests.differential.scenarios.versions import PATCHES, VERSIONS
from tests.differential.scenarios.wrapping import WRAPPING

SCENARIOS = (*VERSIONS, *VALUES, *METADATA, *PATCHES, *LISTS, *ROUTES, *CALLERS, *SYSTEM, *TOKENS, *WRAPPING)

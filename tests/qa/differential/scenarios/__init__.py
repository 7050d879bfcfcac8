"""All scenarios."""

from tests.qa.differential.scenarios.callers import CALLERS, SYSTEM
from tests.qa.differential.scenarios.metadata import METADATA
from tests.qa.differential.scenarios.routes import LISTS, ROUTES
from tests.qa.differential.scenarios.tokens import TOKENS
from tests.qa.differential.scenarios.values import VALUES
from tests.qa.differential.scenarios.versions import PATCHES, VERSIONS
from tests.qa.differential.scenarios.wrapping import WRAPPING

SCENARIOS = (*VERSIONS, *VALUES, *METADATA, *PATCHES, *LISTS, *ROUTES, *CALLERS, *SYSTEM, *TOKENS, *WRAPPING)

"""An invented feature, with all that a feature can bring to the console."""

from vault.common.feature import Feature, Panel, Screen

FEATURE = Feature(
    name="invented",
    pages=("tests.features.console.invented.pages:blueprint",),
    screens=(Screen("token:manage", "console.invented.index", "Invented"),),
    panels=(
        Panel("secret", "console/invented_panel.html", "tests.features.console.invented.pages:panel_values"),
        Panel("folder", "console/invented_hint.html"),
    ),
)

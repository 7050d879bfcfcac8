"""An invented feature, with all that a feature can bring to the console."""

from vault.common.feature import Feature, Panel, Screen

FEATURE = Feature(
    name="notes",
    pages=("tests.features.console.notes.pages:blueprint",),
    screens=(Screen("token:manage", "console.notes.index", "Notes"),),
    panels=(
        Panel("secret", "console/notes_panel.html", "tests.features.console.notes.pages:panel_values"),
        Panel("folder", "console/notes_hint.html"),
    ),
)

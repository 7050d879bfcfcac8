"""The style that the pages for people share: the console and the audit report."""

from pathlib import Path

#: The stylesheet; pages add their own to it.
BASE = (Path(__file__).parent / "base.css").read_text()

#: The macros of the charts, as a Jinja template.
CHARTS = (Path(__file__).parent / "charts.html").read_text()
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

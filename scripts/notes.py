"""Print the notes of a release: python scripts/notes.py TAG [FILES].

They are the first section of CHANGELOG.md, which must have the version of TAG, such as v1.2.3, and a date.
FILES is the address of the repository's files at TAG, which links then lead to.
"""

import re
import sys
from pathlib import Path

_, tag, *files = sys.argv
text = Path("CHANGELOG.md").read_text()
heading, _, section = text.partition("\n## ")[2].partition("\n## ")[0].partition("\n")
if not re.fullmatch(rf"{re.escape(tag.removeprefix('v'))} - \d{{4}}-\d\d-\d\d", heading):
    sys.exit(f"notes.py: CHANGELOG.md begins with {heading}, not with the version and date of {tag}")
for address in files:
    section = re.sub(r"\]\((?!https?:|#)", f"]({address}/", section)
sys.stdout.write(section.strip() + "\n")

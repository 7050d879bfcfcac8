"""Run pytest; Ctrl-C before the first test ends it with a line in place of a traceback."""

import sys

if __name__ == "__main__":
    try:
        import pytest

        sys.exit(pytest.main())
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        # As pytest does later.
        sys.exit(2)

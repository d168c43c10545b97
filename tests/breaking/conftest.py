"""The tests of breaking sets compare with the explicit groups of tests/groups."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "groups"))

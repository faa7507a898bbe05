"""Where the tests find the project, their own data, and the larger data beside the project, which may be missing."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
DATA = ROOT / "tests" / "data"
SHARED = ROOT.parent / "shared"

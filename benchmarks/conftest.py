"""Puts the checkout at the end of the path, so that `benchmarks` imports and hides no fastconv."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

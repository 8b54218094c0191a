"""How tests start Python programs: what these do takes less time than the start, so that is kept short."""

from __future__ import annotations

import sys
import sysconfig

PYTHON = (sys.executable, "-S", "-c")
"""Without `site`, which looks for what packages want done at every start."""

VARIABLES = {"PYTHONDONTWRITEBYTECODE": ""}
"""What programs import of these tests is compiled once."""

PREAMBLE = f"""
import os, sys, time
sys.path.append({sysconfig.get_path("platlib")!r})
from driver_calls import *
"""
"""What programs start with: see driver_calls.py."""

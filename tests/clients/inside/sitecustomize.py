"""On the path of a suite's processes: cuda.bindings has what its source tree has and its wheel leaves out."""

import os

HELPERS = os.environ.get("GSHARE_SUITE_HELPERS")
if HELPERS:
    import cuda.bindings

    cuda.bindings.__path__.append(HELPERS)

"""The suite of `gshare bench`: the same programs under gshare, under nothing, and under other libraries.

Arms differ by environment only.  Each must show that its limits act before a number of it counts, and one
without limits must fail whatever claims to measure isolation.
"""

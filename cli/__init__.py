"""The `gshare` command: parse, ask the controller, render.

Each command is a module; main has the table of them, and is the only place that catches errors.
"""

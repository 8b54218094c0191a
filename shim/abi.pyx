# cython: language_level=3, boundscheck=False, wraparound=False
"""Typed view of the shared memory that src/abi.h lays out; no offset is stated here.

Its parts, in this order: what all files have in common, and one for each of the three files.  Names for what they hold
are in records.py, numbers in layout.pyx.

Files are made whole or not at all: written under another name with `ready` last, flushed, renamed.  Every byte is
really written, since a hole that a full disk cannot fill would kill the program that touches it (SIGBUS).
"""

import mmap
import os
from contextlib import suppress

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from libc.errno cimport errno
from libc.string cimport memcpy, memset

from gshare.shim.layout import *
from gshare.shim.records import Copied, DeviceActivity, DeviceLimits, DeviceUsage, Line, Refusal, SlotDevice, SlotUsage

include "abi.pxi"
include "abi_file.pxi"
include "abi_limits.pxi"
include "abi_usage.pxi"
include "abi_activity.pxi"

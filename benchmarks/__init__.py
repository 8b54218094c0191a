"""Benchmarks and the workload of the demo and of the hardware tests.

They drive `libcuda.so.1` by cffi, whichever is found: a real driver's or the simulated GPU's, under
`gshare run` or bare.  Nothing in gshare imports this package; `gshare bench NAME` runs
`python -m gshare.benchmarks NAME`.
"""

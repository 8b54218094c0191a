"""The control plane: one process per user that owns every limit.

Read in this order: protocol (what can be asked), policy (what is decided, pure), registry (requests to
decisions), tenants and region (decisions to shared memory), adopt (a new controller takes over), server
(sockets and clock), client and launch (how the command line gets there).  units and errors are shared with
the command line.
"""

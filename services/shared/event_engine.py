"""Keeps gRPC's threads until the process ends, so that no channel that is closed has to wait for theirs.

Closing the last channel of a process ends these threads, and waits for them with the GIL held. One of them may just be
giving back a channel's credentials, for which it needs the GIL: then both wait for ever, signals are not heard either,
and the pod stays until it is killed. See pull request 42247 of grpc/grpc.
"""

from __future__ import annotations

import ctypes

import grpc

_NOWHERE = "127.0.0.1:1"  # never connected to: nobody calls it


def keep() -> None:
    """To be called before any other channel is made; not before a fork, which gRPC's threads do not survive."""
    channel = grpc.insecure_channel(_NOWHERE)
    # Nothing frees it, Python's own end neither, which would close it.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(channel))

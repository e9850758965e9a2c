"""A local Pub/Sub: the real service's gRPC surface and semantics, in one process, in memory.

A call goes `server` -> `gate` (every RPC) -> `handlers` -> `broker` -> `backlog` (one a subscription).
From `broker` down nothing knows gRPC, tasks or the time: the caller passes `now`.
"""

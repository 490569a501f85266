"""The measuring program: runs one file in one runtime, on the host or on a device, and computes nothing.

Standard library, NumPy and the runtime; Python 3.9. It is shipped as one zip file
(:mod:`profiles.devices._agent_zip`) and started as ``python agent.pyz JOB.json``. Requests are JSON lines on
stdin, answers JSON lines on the stdout that it was started with; whatever native code prints goes to stderr.
It ends when stdin does.

The job::

    {"model": path, "runtime": "litert", "threads": 1, "parent": pid or null, "affinity": [CPUs] or null}

Requests, in the order they make sense; memory readings are described in :mod:`profiles.agent.evidence`::

    (none, at the start)    -> {"import_ns", "versions", "memory"}
    {"op": "load"}          -> {"load_ns", "inputs", "outputs", "notes", "memory"}
    {"op": "first", "feeds"}            -> {"first_ns", "memory"}; "time" will use these feeds
    {"op": "time", "discard", "count"}  -> {"ns": [...], "switches": [...], "run_delay_ns": [...] or null}
    {"op": "outputs", "feeds", "into"}  -> {"samples", "notes"}; into becomes a feeds folder of all outputs, and lines
                               {"progress": samples done} come before the answer, a few in a second
    {"op": "undelegated"}   -> {"undelegated": [{"operator", "name", "node"}] or null, "nodes": number or null}
    {"op": "operators", "feeds", "runs"} -> {"operators": [...], "run_ns": [...], "unavailable"}; rows are those of
                               :func:`profiles.runtimes._events.rows`, and a reason stands where there are none
    {"op": "idle", "seconds", "count"}  -> {"ns": [...]}; runs after a sleep each
    {"op": "sentinel"}      -> {"sentinel_ns": [...]}; a fixed computation, whatever the file
    {"op": "peak", "threads"}           -> NumPy's matrix product, timed (:mod:`profiles.agent.peak`)
    {"op": "conditions"}    -> the machine's state (:mod:`profiles.agent.conditions`)
    {"op": "arena"}         -> {"arena_bytes", "held_bytes", "note", "unavailable"}; the last that needs the file
    {"op": "quit"}

Anything that fails is answered by ``{"error": {"type", "message"}}`` with the traceback on stderr.
"""

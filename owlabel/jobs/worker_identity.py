"""Checks which workers are alive; a worker's name differs from a later process with the same id."""

from __future__ import annotations

import os
import platform

import psutil

TICKS = 100
"""Units per second of a start time, as in Linux."""


def started_at(pid: int) -> str | None:
    """Return the start of a process in 1/100 s after boot; None if it has ended or is a zombie."""
    try:
        process = psutil.Process(pid)
        if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return None
        # both come from the system clock, so setting the clock does not change the difference
        return str(round((process.create_time() - psutil.boot_time()) * TICKS))
    except (psutil.Error, ValueError):
        return None


def worker_name(pid: int | None = None) -> str:
    """Return the name with which a process claims jobs: machine, process id and start."""
    pid = os.getpid() if pid is None else pid
    return f"{platform.node()}:{pid}:{started_at(pid)}"


def is_alive(worker: str) -> bool:
    """Return whether a worker's process is alive; one on another machine counts as alive."""
    return lives_here(worker) if _node(worker) == platform.node() else bool(worker)


def lives_here(worker: str) -> bool:
    """Return whether a worker's process is alive on this machine."""
    pid, _, start = worker.removeprefix(f"{_node(worker)}:").rpartition(":")
    here = _node(worker) == platform.node() and pid.isdecimal()
    return here and started_at(int(pid)) == start


def _node(worker: str) -> str:
    return worker.rpartition(":")[0].rpartition(":")[0]

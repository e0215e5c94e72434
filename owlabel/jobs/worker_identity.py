"""Which processes are alive: a worker's name tells it from a later process with the same id."""

from __future__ import annotations

import os
import platform

import psutil

TICKS = 100
"""Parts of a second in which a start is given, as Linux counts them."""


def started_at(pid: int) -> str | None:
    """Return when a process began, in 1/100 s after the boot; None if it is gone or a zombie."""
    try:
        process = psutil.Process(pid)
        if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return None
        # both are read from the system clock, so the difference stays when somebody sets it
        return str(round((process.create_time() - psutil.boot_time()) * TICKS))
    except (psutil.Error, ValueError):
        return None


def worker_name(pid: int | None = None) -> str:
    """Return the name under which a process claims jobs: machine, process id and start."""
    pid = os.getpid() if pid is None else pid
    return f"{platform.node()}:{pid}:{started_at(pid)}"


def is_alive(worker: str) -> bool:
    """Tell whether the process of this name lives; one on another machine counts as alive."""
    return lives_here(worker) if _node(worker) == platform.node() else bool(worker)


def lives_here(worker: str) -> bool:
    """Tell whether the process of this name lives on this machine."""
    pid, _, start = worker.removeprefix(f"{_node(worker)}:").rpartition(":")
    here = _node(worker) == platform.node() and pid.isdecimal()
    return here and started_at(int(pid)) == start


def _node(worker: str) -> str:
    return worker.rpartition(":")[0].rpartition(":")[0]

"""Which processes are alive: workers are named so that a number used again is not mistaken."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def started_at(pid: int) -> str | None:
    """Return when a process began, in the kernel's ticks; None if it is gone or a zombie.

    Where there is no ``/proc``, "?" stands for a process that exists.
    """
    if pid <= 0:
        return None
    if not Path("/proc/self/stat").exists():
        return _exists(pid)
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def _exists(pid: int) -> str | None:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "?"


def worker_name(pid: int | None = None) -> str:
    """Return the name under which a process claims jobs: machine, number and start."""
    pid = os.getpid() if pid is None else pid
    return f"{platform.node()}:{pid}:{started_at(pid)}"


def is_alive(worker: str) -> bool:
    """Tell whether the process behind a name lives; one of another machine counts as alive."""
    return lives_here(worker) if _node(worker) == platform.node() else bool(worker)


def lives_here(worker: str) -> bool:
    """Tell whether a living process of this machine is behind a name."""
    pid, _, start = worker.removeprefix(f"{_node(worker)}:").rpartition(":")
    here = _node(worker) == platform.node() and pid.isdecimal()
    return here and started_at(int(pid)) == start


def _node(worker: str) -> str:
    return worker.rpartition(":")[0].rpartition(":")[0]

"""The worker process: runs the jobs of one project at the lowest priority.

``python -m owlabel.jobs.worker PROJECT [--owner PID] [--once]``
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from logging.handlers import RotatingFileHandler
from pathlib import Path

from owlabel.jobs.runner import Runner
from owlabel.jobs.worker_identity import started_at
from owlabel.project.store import Project, ProjectError

LOG = "worker.log"
IDLE_SECONDS = 0.3
"""Seconds between two checks of the queue by an idle worker."""
GRACE_SECONDS = 3.0
"""Seconds that a job has to reach its next step after its owner died."""
_log = logging.getLogger("owlabel.worker")


def start_worker(
    project_folder: Path | str, owner: int | None = None, *, once: bool = False
) -> subprocess.Popen[bytes]:
    """Start a worker for a project; it ends within 5 s after its owner.

    Parameters
    ----------
    project_folder : Path
        The project.
    owner : int or None
        Process id of the window; this process by default.
    once : bool
        End when no job is left.

    Raises
    ------
    OSError
        If the process cannot be started.
    """
    folder = Path(project_folder).resolve()
    owner = os.getpid() if owner is None else owner
    # -P: a file named torch.py beside the images must never be imported
    command = [sys.executable, "-P", "-m", "owlabel.jobs.worker", str(folder)]
    with (folder / LOG).open("ab") as log:
        return subprocess.Popen(
            [*command, "--owner", str(owner), *(["--once"] if once else [])],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=_environment(),
            start_new_session=True,  # an interrupt in the terminal must not stop the worker
        )


def _environment() -> dict[str, str]:
    """Return this process's environment with its import path and sleeping OpenMP threads."""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return {**os.environ, "PYTHONPATH": path, "OMP_WAIT_POLICY": "PASSIVE"}


class OwnerWatch:
    """Knows whether the worker must stop: its owner died, or it was asked to end.

    Parameters
    ----------
    owner : int or None
        Process id of the owner; None for a worker without an owner.
    """

    def __init__(self, owner: int | None) -> None:
        self._owner = owner
        self._born = None if owner is None else started_at(owner)
        self.stopping = threading.Event()

    def look(self) -> bool:
        """Check the owner and return whether the worker must stop."""
        if self._owner is not None and started_at(self._owner) != self._born:
            self.stopping.set()
        if self._owner is not None and self._born is None:
            self.stopping.set()
        return self.stopping.is_set()

    def on_signal(self, _number: int, _frame: object) -> None:
        """Signal handler: stop at the next step."""
        self.stopping.set()


def prepare_process() -> None:
    """Set the lowest priority and OpenMP threads that do not spin, so that the window stays fast.

    Call it before anything imports torch.
    """
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    if hasattr(os, "nice"):
        os.nice(19)
    # Linux first shares time between process sessions, so nice alone has no effect here; 5 gives
    # about a third of the window's share: the window stays fast and jobs run on a busy machine
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text("5")


def set_up_log(folder: Path) -> None:
    """Log the worker's actions and tracebacks to the project's ``worker.log``."""
    handler = RotatingFileHandler(folder / LOG, maxBytes=1 << 20, backupCount=1, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(levelname)s %(message)s"))
    _log.addHandler(handler)
    _log.setLevel(logging.INFO)


def main(arguments: list[str] | None = None) -> int:
    """Run the jobs of a project until its owner ends, or with ``--once`` until no job is left."""
    parser = argparse.ArgumentParser(prog="owlabel.jobs.worker", description=__doc__)
    parser.add_argument("project", type=Path)
    parser.add_argument("--owner", type=int, help="end when this process has ended")
    parser.add_argument("--once", action="store_true", help="end when no job is left")
    given = parser.parse_args(arguments)
    prepare_process()
    set_up_log(given.project)
    watch = OwnerWatch(given.owner)
    signal.signal(signal.SIGTERM, watch.on_signal)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return serve(given.project, watch, once=given.once)


def serve(folder: Path, watch: OwnerWatch, once: bool) -> int:
    """Claim and run jobs until the watch stops; return 0, or 1 if the project cannot be opened."""
    try:
        project = Project.open(folder)
    except ProjectError as error:
        _log.error("%s", error)
        return 1
    with project:
        runner = Runner(project, watch.stopping)
        pulse = threading.Thread(target=_pulse, args=(runner, watch), daemon=True)
        pulse.start()
        _log.info("worker begins")
        while not watch.stopping.is_set():
            if not _step(runner):
                if once:
                    break
                watch.stopping.wait(IDLE_SECONDS)
        runner.queue.release(runner.name)
        _log.info("worker ends")
    return 0


def _step(runner: Runner) -> bool:
    """Run one job; log a database error, e.g. a lock or a full disk, instead of ending."""
    try:
        return runner.step()
    except ProjectError as error:
        _log.warning("%s", error)
        return False


def _pulse(runner: Runner, watch: OwnerWatch) -> None:
    """Store heartbeats of the running jobs; end the process after its owner has died."""
    beat = 0.0
    while not watch.look():
        if time.monotonic() - beat > 2.0 and runner.busy:
            beat = time.monotonic()
            try:
                runner.queue.heartbeat(runner.name)
            except ProjectError as error:
                _log.warning("no heartbeat: %s", error)
        watch.stopping.wait(0.5)
    time.sleep(GRACE_SECONDS)
    _log.warning("a job did not reach its next step in time; it goes back into the queue")
    try:
        runner.queue.release(runner.name)
    finally:
        os._exit(3)


if __name__ == "__main__":
    sys.exit(main())

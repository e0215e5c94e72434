"""Kill a sitting, and its worker, at random moments and look what is left.

    python tests/faults/crash_sitting.py --kills 50 --out docs/results/crash_sitting.json

A child process opens a project and does random acts (clicks, names, strokes, undo, redo, reviews).
After each act it prints the number of the newest event and a digest of everything people said:
the act is acknowledged.  The parent kills it with SIGKILL at a random moment, with or without its
worker, opens the project and checks that the acknowledged state is there.  One act more may be
there, whole: the one that was on its way.  With ``--window`` the child is the real window.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from owlabel.project.store import Project
from owlabel.session.session import Session
from owlabel.view.view import View


def digest(view: View) -> str:
    """Return a digest of everything that people said, read from disk."""
    value = hashlib.sha256()
    project = view.project
    value.update(json.dumps(project.classes().to_json()).encode())
    for record in project.images():
        if record.error is None:
            value.update(f"{record.relative} {record.state}".encode())
            value.update(project.human_labels(record.id).tobytes())
            frozen = project.reviewed(record.id)
            if frozen is not None:
                value.update(frozen[0].tobytes() + frozen[1].tobytes())
    return value.hexdigest()


def newest(project: Project, since: int = 0) -> int:
    """Return the number of the newest event."""
    events = project.events(since)
    return events[-1].seq if events else since


def act(session: Session, rng: random.Random, number: int) -> None:
    """Do one random act; acts that are refused in words count as done."""
    height, width = session.labels.human().shape
    row, col = rng.randrange(height), rng.randrange(width)
    choice = rng.choice(
        ["click", "click", "click", "accept", "paint", "undo", "redo", "go", "review"]
    )
    try:
        if choice == "click":
            session.labels.click(row, col, add=rng.random() < 0.8)
        elif choice == "accept":
            session.labels.accept(rng.choice(["deer", "bale", f"thing {number % 7}"]))
        elif choice == "paint":
            painted = session.labels.human().copy()
            painted[row : row + 20, col : col + 20] = rng.choice(list(session.classes.names))
            session.labels.paint(painted)
        elif choice == "undo":
            session.undo()
        elif choice == "redo":
            session.redo()
        elif choice == "go":
            session.go_to(rng.choice(session.records).id)
        else:
            session.labels.review(rng.random() < 0.7)
    except ValueError:
        pass


def sit(folder: Path, seed: int, window: bool) -> None:
    """Be the child: act until killed."""
    if window:
        import napari
        from qtpy.QtWidgets import QApplication

        from owlabel_napari.entry.windows import panel_of

        panel = panel_of(napari.Viewer())
        panel.open(folder)
        session, turn = panel.session, QApplication.processEvents
    else:
        session = Session(Project.open(folder))
        turn = session.poll
    rng = random.Random(seed)
    seq = newest(session.project)
    print(
        json.dumps({"seq": seq, "digest": digest(session), "worker": worker_of(session)}),
        flush=True,
    )
    for number in range(10**6):
        act(session, rng, number)
        turn()
        seq = newest(session.project, seq)
        print(
            json.dumps({"seq": seq, "digest": digest(session), "worker": worker_of(session)}),
            flush=True,
        )


def worker_of(session: Session) -> int | None:
    """Return the process number of the session's worker."""
    process = session.worker._process
    return process.pid if process is not None and process.poll() is None else None


def kill_once(folder: Path, rng: random.Random, window: bool) -> dict[str, Any]:
    """Start a sitting, kill it, and check what is left."""
    command = [sys.executable, __file__, "--sit", str(folder), "--seed", str(rng.randrange(10**6))]
    child = subprocess.Popen(
        command + (["--window"] if window else []), stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    started = next(line for line in child.stdout if line.startswith("{"))  # it sits
    lines = [json.loads(started)]
    time.sleep(rng.uniform(0.05, 4.0))
    with_worker = rng.random() < 0.5
    if with_worker and lines[0]["worker"]:
        _kill(lines[0]["worker"])
        time.sleep(rng.uniform(0, 0.3))
    _kill(child.pid)
    rest = child.stdout.read().splitlines(keepends=True)
    whole = (line for line in rest if line.startswith("{") and line.endswith("\n"))
    lines += [json.loads(line) for line in whole]
    child.wait()
    return _verdict(folder, lines[-1], len(lines)) | {"worker_killed": with_worker}


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _verdict(folder: Path, last: dict[str, Any], acts: int) -> dict[str, Any]:
    """Compare what is on disk with the last acknowledged state."""
    start = time.perf_counter()
    with Project.open(folder) as project:
        opened = time.perf_counter() - start
        view = View(project)
        more = newest(project, last["seq"]) - last["seq"]
        if more == 1:
            event = project.events(last["seq"])[0]
            # flip the act that was on its way: what is under it must be what was acknowledged
            flip, back = (
                (project.redo, project.undo)
                if event.kind == "undo"
                else (project.undo, project.redo)
            )
            flip()
            same = digest(view) == last["digest"]
            back()
        else:
            same = digest(view) == last["digest"]
        broken = [p.name for p in folder.rglob("*.tmp")] + [p.name for p in folder.rglob("*.part")]
    return {"acts": acts, "kept": same and more in (0, 1), "unacknowledged": more,
            "open_s": round(opened, 3), "half_written": len(broken)}  # fmt: skip


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--window", action="store_true")
    parser.add_argument(
        "--project", type=Path, help="a project to sit on; by default one of the sample"
    )
    parser.add_argument("--out", type=Path)
    parser.add_argument("--sit", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.sit:
        sit(given.sit, given.seed, given.window)
        return
    rng = random.Random(given.seed)
    rounds = [kill_once(given.project, rng, given.window) for _ in range(given.kills)]
    summary = {
        "command": f"python tests/faults/crash_sitting.py --kills {given.kills} --seed {given.seed}"
        f"{' --window' if given.window else ''} --project PROJECT",
        "kills": len(rounds),
        "acts": sum(r["acts"] for r in rounds),
        "acknowledged_lost": sum(not r["kept"] for r in rounds),
        "longest_open_s": max(r["open_s"] for r in rounds),
        "half_written_files": sum(r["half_written"] for r in rounds),
        "worker_killed": sum(r["worker_killed"] for r in rounds),
        "numpy": np.__version__,
    }
    text = json.dumps(summary, indent=1)
    print(text)
    if given.out:
        given.out.write_text(text + "\n")
    sys.exit(1 if summary["acknowledged_lost"] else 0)


if __name__ == "__main__":
    main()

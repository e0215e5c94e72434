"""Writing figures with all that is needed to make them again."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import typer


def write_result(path: Path, measure: Callable[[], dict[str, Any]], note: str) -> None:
    """Measure, then write the result with command, commit, machine, minutes and a note.

    A ValueError ends the program with one line and status 2.
    """
    started, cpu, load = time.monotonic(), time.process_time(), os.getloadavg()[0]
    try:
        results = measure()
    except ValueError as error:
        typer.secho(str(error), fg="red", err=True)
        raise typer.Exit(2) from error
    content = {
        **provenance(),
        "load_before": round(load, 1),
        "note": note,
        "minutes": round((time.monotonic() - started) / 60, 1),
        "cpu_minutes": round((time.process_time() - cpu) / 60, 1),
        "results": results,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    typer.echo(f"wrote {path}")


def provenance() -> dict[str, Any]:
    """Return command, commit, machine and versions."""
    return {
        "command": _command(),
        "commit": _commit(),
        "machine": machine(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }


def _command() -> str:
    """Return the command line with folders of this machine left out."""
    main = sys.modules["__main__"]
    module = main.__spec__.name if main.__spec__ is not None else Path(sys.argv[0]).name
    return shlex.join(["python", "-m", module, *map(_without_folder, sys.argv[1:])])


def _without_folder(word: str) -> str:
    """Return a word of a command line, or what stands behind its =, without its folder."""
    key, mark, value = word.rpartition("=")
    return f"{key}{mark}DIR/{Path(value).name}" if Path(value).is_absolute() else word


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    )
    return done.stdout.strip() or "unknown"


def machine() -> str:
    """Return the kind of machine: cores and accelerator."""
    accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{os.cpu_count()} CPU cores, {accelerator}"

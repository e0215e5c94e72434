"""From what a user names (a folder of pictures, a project, a model) to an open project."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from owlabel.images import files as images
from owlabel.project.store import Project, ProjectError

SUFFIX = ".owlabel"
DATABASE = "project.db"


def sample_checkpoint() -> Path:
    """Return the small checkpoint that is installed with OWLabel.

    Raises
    ------
    ProjectError
        If this installation came without sample data.
    """
    try:
        path = Path(str(resources.files("owlabel_samples") / "sample.safetensors"))
    except ModuleNotFoundError:
        path = Path("sample.safetensors")
    if not path.is_file():
        raise ProjectError("this installation has no sample model: name one with --model FILE")
    return path


def find_checkpoint(model: str | Path | None) -> Path:
    """Return the checkpoint that `model` names: a file, or the sample model for None or "sample".

    Raises
    ------
    ProjectError
        If there is no such file.
    """
    if model is None or str(model) == "sample":
        return sample_checkpoint()
    path = Path(model).expanduser().resolve()
    if not path.is_file():
        raise ProjectError(f"no model file at {path}: name a .safetensors file, or 'sample'")
    return path


def project_folder(images: Path) -> Path:
    """Return where the project of a folder of pictures lies by default: beside it."""
    return images.parent / (images.name + SUFFIX)


def is_project(folder: Path) -> bool:
    """Tell whether a folder is a project, or one of pictures that has a project beside it."""
    folder = folder.expanduser().resolve()
    return any((found / DATABASE).is_file() for found in (folder, project_folder(folder)))


def open_or_create(
    folder: str | Path,
    model: str | Path | None = None,
    project: str | Path | None = None,
) -> Project:
    """Open a project, or make one from a folder of images, which is never changed.

    Parameters
    ----------
    folder : str or Path
        A project's folder, or a folder of images.
    model : str or Path, optional
        Checkpoint for a new project, by default the sample model.  An existing project ignores it.
    project : str or Path, optional
        Folder of a new project, by default ``FOLDER.owlabel`` beside the images.

    Raises
    ------
    ProjectError
        If the folder is not there, or the project cannot be made or read.
    """
    folder = Path(folder).expanduser().resolve()
    if (folder / DATABASE).is_file():
        return Project.open(folder)
    if not folder.is_dir():
        raise ProjectError(f"no folder at {folder}: name a folder of pictures or a project")
    target = Path(project or project_folder(folder)).expanduser().resolve()
    if (target / DATABASE).is_file():
        opened = Project.open(target)
        opened.sync_images()
        return opened
    return Project.create(target, folder, find_checkpoint(model))


def is_ours(folder: Path) -> bool:
    """Tell whether a path is a folder with images, or a project."""
    return folder.is_dir() and ((folder / DATABASE).is_file() or images.holds_images(folder))

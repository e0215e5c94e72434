"""Open the project that a user names: its own folder, or the folder of its images."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from owlabel.images import files as images
from owlabel.project.store import Project, ProjectError

SUFFIX = ".owlabel"
DATABASE = "project.db"


def sample_checkpoint() -> Path:
    """Return the small sample checkpoint that is installed with OWLabel.

    Raises
    ------
    ProjectError
        If the sample data is not installed.
    """
    try:
        path = Path(str(resources.files("owlabel_samples") / "sample.safetensors"))
    except ModuleNotFoundError:
        path = Path("sample.safetensors")
    if not path.is_file():
        raise ProjectError("the sample model is not installed: choose a model with --model FILE")
    return path


def find_checkpoint(model: str | Path | None) -> Path:
    """Return the path of a checkpoint; None and "sample" mean the sample model.

    Raises
    ------
    ProjectError
        If the file does not exist.
    """
    if model is None or str(model) == "sample":
        return sample_checkpoint()
    path = Path(model).expanduser().resolve()
    if not path.is_file():
        raise ProjectError(f"no model file at {path}: choose a .safetensors file, or 'sample'")
    return path


def project_folder(images: Path) -> Path:
    """Return the default project folder of an image folder: ``NAME.owlabel`` beside it."""
    return images.parent / (images.name + SUFFIX)


def is_project(folder: Path) -> bool:
    """Return whether a folder is a project, or an image folder with a project beside it."""
    folder = folder.expanduser().resolve()
    return any((path / DATABASE).is_file() for path in (folder, project_folder(folder)))


def open_project(
    folder: str | Path,
    model: str | Path | None = None,
    project: str | Path | None = None,
) -> Project:
    """Open a project, or create one for a folder of images.

    The image folder is never changed.

    Parameters
    ----------
    folder : str or Path
        A project folder or an image folder.
    model : str or Path, optional
        Checkpoint for a new project, by default the sample model. An existing project ignores it.
    project : str or Path, optional
        Where to create a new project, by default ``FOLDER.owlabel`` beside the images.

    Raises
    ------
    ProjectError
        If the folder does not exist, or the project cannot be created or read.
    """
    folder = Path(folder).expanduser().resolve()
    if (folder / DATABASE).is_file():
        return Project.open(folder)
    if not folder.is_dir():
        raise ProjectError(f"no folder at {folder}: choose a folder of images or a project")
    target = Path(project or project_folder(folder)).expanduser().resolve()
    if (target / DATABASE).is_file():
        opened = Project.open(target)
        opened.sync_images()
        return opened
    return Project.create(target, folder, find_checkpoint(model))


def can_open(folder: Path) -> bool:
    """Return whether a path is a project or a folder with images."""
    return folder.is_dir() and ((folder / DATABASE).is_file() or images.holds_images(folder))

"""Reads and writes tag files, and matches them with a project's images and classes.

An import is all or nothing: one bad statement rejects the whole file.  The error names the line
and the remedy.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path, PurePosixPath

from owlabel.classes import ClassTable, clean_name
from owlabel.formats.tags import coco, csv_table, json_file
from owlabel.formats.tags.statements import TagLine, read_json, unlike
from owlabel.images.files import scan

WRITERS = {".csv": csv_table.text_of, ".json": json_file.text_of}
NOTHING = "Nothing was imported."


@dataclass
class ReadTags:
    """The tags of a file.

    Attributes
    ----------
    tags : dict
        ``{class id: {image id: state}}``.
    new : dict
        ``{class name: {image id: state}}`` for classes that the project does not have yet.
    skipped : dict
        How many statements were skipped, by the name of the unknown class or image.
    """

    tags: dict[int, dict[int, str]] = field(default_factory=dict)
    new: dict[str, dict[int, str]] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Reading:
    """Options for reading a tag file.

    Attributes
    ----------
    create_classes : bool
        Create a novel class for each unknown class name.
    skip_unknown : bool
        Skip statements about unknown images, and about unknown classes unless they are created.
    others_absent : bool
        Where the file does not list one of its classes for one of its images, mark it as absent.
    """

    create_classes: bool = False
    skip_unknown: bool = False
    others_absent: bool = False


def read_lines(path: Path) -> Iterator[TagLine]:
    """Yield the statements of a CSV, JSON or COCO file, or of a folder with a subfolder per class.

    Raises
    ------
    ValueError
        If it is none of these or malformed; the message names file, line and remedy.
    """
    if path.is_dir():
        yield from unlike(_of_folders(path))
    elif path.suffix.lower() in (".csv", ".tsv", ".txt"):
        yield from csv_table.read(path)
    elif path.suffix.lower() == ".json":
        value, text = read_json(path)
        if coco.is_coco(value):
            yield from unlike(coco.lines(path, value))
        else:
            yield from json_file.lines(path, value, text)
    elif path.exists():
        raise ValueError(
            f"{path}: tags must be a .csv or .json file, or a folder with one subfolder per class"
        )
    else:
        raise ValueError(f"{path} does not exist")


def _of_folders(path: Path) -> Iterator[TagLine]:
    """Yield one statement per image: the class named like its folder is present."""
    has_images = False
    for file in scan(path):
        relative = file.relative_to(path)
        if len(relative.parts) > 1:
            has_images = True
            yield TagLine(relative.as_posix(), relative.parts[0], "present", relative.as_posix())
    if not has_images:
        raise ValueError(
            f"{path} has no subfolder with images: make one per class, named after the class"
        )


def read(
    path: Path, images: Mapping[str, int], classes: ClassTable, how: Reading | None = None
) -> ReadTags:
    """Read a tag file for the images and classes of a project.

    Parameters
    ----------
    path : Path
    images : mapping
        Image ids by path below the image folder.
    classes : ClassTable
    how : Reading, optional

    Raises
    ------
    ValueError
        If the file is malformed, an image or class is unknown, or two statements are the same or
        contradict each other.
    """
    resolving = _Resolving(path, images, classes, how or Reading())
    for line in read_lines(path):
        resolving.take(line)
    return resolving.result()


class _Resolving:
    """Collects statements with their places in the file, so that errors can name both places."""

    def __init__(
        self, path: Path, images: Mapping[str, int], classes: ClassTable, how: Reading
    ) -> None:
        self.path, self.classes, self.how = path, classes, how
        self._images = _Names(images, loose=path.is_dir())
        self._new_names: dict[str, str] = {}  # classes to create, by their case-folded names
        self._class_keys: dict[str, int | str | None] = {}
        self._states: dict[int | str, dict[int, tuple[str, str]]] = {}  # state and place
        self._skipped: dict[str, int] = {}
        self._unknown: dict[str, list[str]] = {}
        self._seen: set[int] = set()

    def take(self, line: TagLine) -> None:
        """Add one statement."""
        image_id = self._images.find(line.image)
        key = self._class_of(line, make=image_id is not None)
        if image_id is None:
            self._skip(f"no image is named {line.image!r}", line.image, line.place)
        elif isinstance(image_id, str):
            raise ValueError(f"{self.path}, {line.place}: {image_id}. {NOTHING}")
        elif key is not None:
            self._seen.add(image_id)
            states = self._states.setdefault(key, {})
            if image_id in states:
                self._refuse_second(line, *states[image_id])
            states[image_id] = (line.state, line.place)

    def _class_of(self, line: TagLine, *, make: bool) -> int | str | None:
        """Return the id of a class, the name of a class to create, or None for a skipped one.

        No class is created for an unknown image.
        """
        if line.name not in self._class_keys:
            try:
                name = clean_name(line.name)
            except ValueError as error:
                raise ValueError(f"{self.path}, {line.place}: {error}. {NOTHING}") from error
            known = self.classes.find(name)
            self._class_keys[line.name] = None if known is None else known.id
            if known is None and self.how.create_classes and not make:
                del self._class_keys[line.name]
                return None
            if known is None and self.how.create_classes:
                new_name = self._new_names.setdefault(name.casefold(), name)
                self._class_keys[line.name] = new_name
                self._states.setdefault(new_name, {})
        key = self._class_keys[line.name]
        if key is None:
            near = get_close_matches(line.name, self.classes.names.values(), 1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            self._skip(f"no class is named {line.name!r}{hint}", line.name, line.place)
        return key

    def _skip(self, why: str, name: str, place: str) -> None:
        self._skipped[name] = self._skipped.get(name, 0) + 1
        self._unknown.setdefault(why, []).append(place)

    def _refuse_second(self, line: TagLine, state: str, place: str) -> None:
        where = f"{self.path}, {line.place}"
        if state == line.state:
            raise ValueError(
                f"{where}: {line.name!r} is marked {state} in {line.image!r} again, as in "
                f"{place}; delete one of the two. {NOTHING}"
            )
        raise ValueError(
            f"{where}: {line.name!r} is {line.state} in {line.image!r}, but {state} in {place}; "
            f"delete the wrong one. {NOTHING}"
        )

    def result(self) -> ReadTags:
        """Return the tags; raises ValueError if a name is unknown and must not be skipped."""
        if self._unknown and not self.how.skip_unknown:
            raise ValueError(self._unknown_message())
        result = ReadTags(skipped=self._skipped)
        for key, places in self._states.items():
            states = {image_id: state for image_id, (state, _) in places.items()}
            if self.how.others_absent:
                states = dict.fromkeys(sorted(self._seen), "absent") | states
            if isinstance(key, int):
                result.tags[key] = states
            else:
                result.new[key] = states
        return result

    def _unknown_message(self) -> str:
        """Return one line with the unknown names and the remedies."""
        (first, places), *others = self._unknown.items()
        more = sum(len(p) for p in self._unknown.values()) - 1
        text = f"{self.path}, {places[0]}: {first}"
        if others:
            text += "; " + "; ".join(f"{p[0]}: {why}" for why, p in others[:2])
        if more > min(len(others), 2):
            text += f"; {more} more such statements in total"
        remedies = ["correct the name"]
        if any(why.startswith("no class") for why in self._unknown):
            remedies.append("create the classes (--create-classes)")
        remedies.append("skip unknown names (--skip-unknown)")
        return f"{text}. Remedy: {', or '.join(remedies)}. {NOTHING}"


class _Names:
    """Finds images by their path or the end of it, with or without suffix.

    Parameters
    ----------
    images : mapping
        Image ids by path.
    loose : bool
        Match by the file name alone if the folders differ.
    """

    def __init__(self, images: Mapping[str, int], loose: bool) -> None:
        self._paths, self._loose = dict(images), loose
        self._ends: dict[str, list[str]] = {}
        for path in images:
            parts = PurePosixPath(path).parts
            for start in range(len(parts)):
                end = PurePosixPath(*parts[start:])
                for short in {end.as_posix(), end.with_suffix("").as_posix()} - {path}:
                    self._ends.setdefault(short, []).append(path)
        self._known: dict[str, int | str | None] = {}

    def find(self, name: str) -> int | str | None:
        """Return an image's id, None if there is none, or a message if several images fit."""
        if name not in self._known:
            self._known[name] = self._find(name)
        return self._known[name]

    def _find(self, name: str) -> int | str | None:
        path = PurePosixPath(name.replace("\\", "/"))
        tails = [PurePosixPath(*path.parts[i:]).as_posix() for i in range(len(path.parts))]
        exact = next((self._paths[tail] for tail in tails if tail in self._paths), None)
        if exact is not None:
            return exact
        for wanted in tails[:1] + tails[-1:] * self._loose:
            fitting = self._ends.get(wanted, [])
            if len(fitting) == 1:
                return self._paths[fitting[0]]
            if fitting:
                some = ", ".join(fitting[:3])
                return f"{name!r} fits {some}; write the path below the image folder"
        return None


def write(path: Path, tags: Iterable[tuple[str, str, str]]) -> None:
    """Write (image, class, state) as CSV or JSON, as the suffix says, completely or not at all.

    Raises
    ------
    ValueError
        If the suffix is neither, or the file cannot be written.
    """
    text_of = WRITERS.get(path.suffix.lower())
    if text_of is None:
        raise ValueError(f"a tag file must end in {' or '.join(WRITERS)}, got {path.name!r}")
    partial = path.with_name(f".{path.name}.tmp")
    try:
        with partial.open("wb") as file:
            file.write(text_of(tags).encode())
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ValueError(f"{path} cannot be written: {error.strerror}") from error

"""Files of tags: read, brought together with a project's images and classes, and written.

All or nothing: one statement that cannot be understood refuses the whole file, and says where it
stands and what helps.
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
        Class id to image id to a state.
    new : dict
        Name of a class that is not there yet to image id to a state.
    skipped : dict
        Name of an unknown class or image to how many statements on it were left out.
    """

    tags: dict[int, dict[int, str]] = field(default_factory=dict)
    new: dict[str, dict[int, str]] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Reading:
    """How a file of tags is read.

    Attributes
    ----------
    create_classes : bool
        Make novel classes of names that are not there.
    skip_unknown : bool
        Leave out statements on unknown images, and on unknown classes unless they are made.
    others_absent : bool
        A class of the file that is not said of one of its images is absent there.
    """

    create_classes: bool = False
    skip_unknown: bool = False
    others_absent: bool = False


def read_lines(path: Path) -> Iterator[TagLine]:
    """Yield the statements of a CSV or JSON file, a COCO file, or a folder with one for each class.

    Raises
    ------
    ValueError
        If it is none of these or is malformed; names file, line and remedy.
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
        raise ValueError(f"{path}: tags come as .csv, .json or a folder with one for each class")
    else:
        raise ValueError(f"{path} is not there")


def _of_folders(path: Path) -> Iterator[TagLine]:
    """Yield that each image of a folder holds the class that its folder is named after."""
    found = False
    for file in scan(path):
        relative = file.relative_to(path)
        if len(relative.parts) > 1:
            found = True
            yield TagLine(relative.as_posix(), relative.parts[0], "present", relative.as_posix())
    if not found:
        raise ValueError(
            f"{path} holds no folder with images: make one for each class, named after it"
        )


def read(
    path: Path, images: Mapping[str, int], classes: ClassTable, how: Reading | None = None
) -> ReadTags:
    """Read a file of tags for the images and classes of a project.

    Parameters
    ----------
    path : Path
    images : mapping
        Path of each image below the images' folder to its id.
    classes : ClassTable
    how : Reading, optional

    Raises
    ------
    ValueError
        If the file is malformed, an image or class is unknown, or a statement is repeated or
        contradicted.
    """
    resolving = _Resolving(path, images, classes, how or Reading())
    for line in read_lines(path):
        resolving.take(line)
    return resolving.result()


class _Resolving:
    """Brings statements together; keeps where each stands, to name it if another contradicts."""

    def __init__(
        self, path: Path, images: Mapping[str, int], classes: ClassTable, how: Reading
    ) -> None:
        self.path, self.classes, self.how = path, classes, how
        self._images = _Names(images, loose=path.is_dir())
        self._made: dict[str, str] = {}  # names of classes to be made, by their small letters
        self._class_keys: dict[str, int | str | None] = {}
        self._said: dict[int | str, dict[int, tuple[str, str]]] = {}
        self._skipped: dict[str, int] = {}
        self._unknown: dict[str, list[str]] = {}
        self._seen: set[int] = set()

    def take(self, line: TagLine) -> None:
        """Take one statement."""
        image_id = self._images.find(line.image)
        key = self._class_of(line, make=image_id is not None)
        if image_id is None:
            self._leave_out(f"no image is named {line.image!r}", line.image, line.place)
        elif isinstance(image_id, str):
            raise ValueError(f"{self.path}, {line.place}: {image_id}. {NOTHING}")
        elif key is not None:
            self._seen.add(image_id)
            said = self._said.setdefault(key, {})
            if image_id in said:
                self._refuse_second(line, *said[image_id])
            said[image_id] = (line.state, line.place)

    def _class_of(self, line: TagLine, *, make: bool) -> int | str | None:
        """Return the id of a class, the name of one to be made, or None for one left out.

        No class is made for an image that is not there.
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
                made = self._made.setdefault(name.casefold(), name)
                self._class_keys[line.name] = made
                self._said.setdefault(made, {})
        key = self._class_keys[line.name]
        if key is None:
            near = get_close_matches(line.name, self.classes.names.values(), 1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            self._leave_out(f"no class is named {line.name!r}{hint}", line.name, line.place)
        return key

    def _leave_out(self, why: str, name: str, place: str) -> None:
        self._skipped[name] = self._skipped.get(name, 0) + 1
        self._unknown.setdefault(why, []).append(place)

    def _refuse_second(self, line: TagLine, state: str, place: str) -> None:
        where = f"{self.path}, {line.place}"
        if state == line.state:
            raise ValueError(
                f"{where}: {line.image!r} is said to be {state} for {line.name!r} again, as in "
                f"{place}; delete one of both. {NOTHING}"
            )
        raise ValueError(
            f"{where}: {line.name!r} is {line.state} in {line.image!r}, but {state} in {place}; "
            f"keep what is right. {NOTHING}"
        )

    def result(self) -> ReadTags:
        """Return the tags; raises ValueError where something unknown must not be left out."""
        if self._unknown and not self.how.skip_unknown:
            raise ValueError(self._told())
        found = ReadTags(skipped=self._skipped)
        for key, said in self._said.items():
            states = {image_id: state for image_id, (state, _) in said.items()}
            if self.how.others_absent:
                states = dict.fromkeys(sorted(self._seen), "absent") | states
            if isinstance(key, int):
                found.tags[key] = states
            else:
                found.new[key] = states
        return found

    def _told(self) -> str:
        """Return in one line what is unknown, and what helps."""
        (first, places), *others = self._unknown.items()
        more = sum(len(p) for p in self._unknown.values()) - 1
        text = f"{self.path}, {places[0]}: {first}"
        if others:
            text += "; " + "; ".join(f"{p[0]}: {why}" for why, p in others[:2])
        if more > min(len(others), 2):
            text += f"; {more} more such statements in all"
        remedies = ["correct the name"]
        if any(why.startswith("no class") for why in self._unknown):
            remedies.append("make the classes (--create-classes)")
        remedies.append("leave out what is unknown (--skip-unknown)")
        return f"{text}. Remedy: {', or '.join(remedies)}. {NOTHING}"


class _Names:
    """Finds images by path, or by the end of it, with or without suffix.

    Parameters
    ----------
    images : mapping
        Path to id.
    loose : bool
        The file name is enough, whatever folder stands before it.
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
        """Return an image's id, None where there is none, or why it is not clear which."""
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
                return f"{name!r} may be {some}; write the path below the images' folder"
        return None


def write(path: Path, tags: Iterable[tuple[str, str, str]]) -> None:
    """Write (image, class, state) as CSV or JSON, by the suffix; whole or not at all.

    Raises
    ------
    ValueError
        If the suffix is another, or the file cannot be written.
    """
    text_of = WRITERS.get(path.suffix.lower())
    if text_of is None:
        raise ValueError(f"tags are written as {' or '.join(WRITERS)}, got {path.name!r}")
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

"""Tables of named things that installed packages can extend through entry points."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

T = TypeVar("T")
_log = logging.getLogger("owlabel.plugins")
_TABLES: list[Registry[Any]] = []


class Registry(Mapping[str, T]):
    """A read-only table: the built-in items first, then those of installed packages.

    A package adds an item with one entry point: its name is the key, its object is the item.  The
    table scans entry points when a name is not built in or when all items are listed, and imports
    a package only then.  Names come only from installed Python packages, never from a project.

    The table leaves an item out if its package cannot be imported, its object does not fit or its
    name is taken.  It then logs one warning to ``owlabel.plugins``.

    Parameters
    ----------
    group : str
        Group of the entry points, e.g. ``owlabel.scores``.
    what : str
        The word for an item in messages, e.g. "score".
    builtin : mapping
        The items that need no package.
    check : callable
        ``check(name, object) -> item``.  Raises ValueError where the object does not fit.
    """

    def __init__(
        self, group: str, what: str, builtin: Mapping[str, T], check: Callable[[str, Any], T]
    ) -> None:
        self.group, self.what = group, what
        self._builtin, self._check = dict(builtin), check
        self._waiting: dict[str, EntryPoint] | None = None
        self._plugins: dict[str, T] = {}
        _TABLES.append(self)

    def __getitem__(self, name: str) -> T:
        if name in self._builtin:
            return self._builtin[name]
        if name in self._scan():
            self._load(name)
        return self._plugins[name]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.get(name) is not None

    def __iter__(self) -> Iterator[str]:
        for name in list(self._scan()):
            self._load(name)
        return iter([*self._builtin, *self._plugins])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def names(self) -> list[str]:
        """Return all names without importing a package; broken packages are included."""
        return [*self._builtin, *self._plugins, *self._scan()]

    def pick(self, names: Collection[str]) -> list[T]:
        """Return the items with these names, each once, in the order of the table.

        Raises
        ------
        ValueError
            If a name is unknown.
        """
        items = [item for name, item in self._builtin.items() if name in names]
        others = [name for name in names if name not in self._builtin]
        if unknown := [name for name in others if name not in self]:
            raise ValueError(f"unknown {self.what} {unknown[0]!r}; choose from {', '.join(self)}")
        return items + ([self[name] for name in self.plugins() if name in others] if others else [])

    def is_builtin(self, name: str) -> bool:
        """Return whether an item comes with OWLabel."""
        return name in self._builtin

    def plugins(self) -> list[str]:
        """Return the names that packages add."""
        return [name for name in self if name not in self._builtin]

    def rescan(self) -> None:
        """Forget the scanned packages; the next access scans them again."""
        self._waiting, self._plugins = None, {}

    def _scan(self) -> dict[str, EntryPoint]:
        """Return the entry points that are not loaded yet, by name."""
        if self._waiting is None:
            self._waiting = {}
            for point in sorted(entry_points(group=self.group), key=_package):
                owner = self._waiting.get(point.name)
                if point.name in self._builtin or owner is not None:
                    holder = "owlabel" if owner is None else _package(owner)
                    self._warn(point, f"the name is taken by {holder}")
                else:
                    self._waiting[point.name] = point
        return self._waiting

    def _load(self, name: str) -> None:
        """Import one entry point and keep its item, or warn."""
        point = self._scan().pop(name, None)
        if point is None:
            return
        try:
            self._plugins[name] = self._check(name, point.load())
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a package may raise anything
            self._warn(point, f"{type(error).__name__}: {error}")

    def _warn(self, point: EntryPoint, reason: str) -> None:
        _log.warning(
            "%s %r of the package %s is left out: %s",
            self.group, point.name, _package(point), " ".join(reason.split())[:300],
        )  # fmt: skip


def rescan_all() -> None:
    """Scan the packages again for all tables, e.g. after installing one in a notebook."""
    for table in _TABLES:
        table.rescan()


def _package(point: EntryPoint) -> str:
    """Return the name of the package that declares an entry point."""
    return "?" if point.dist is None else point.dist.name


def instance_of(kind: type[T]) -> Callable[[str, Any], T]:
    """Return a check that the object is a `kind` and has the entry point's name."""

    def check(name: str, item: Any) -> T:
        if not isinstance(item, kind):
            raise ValueError(f"expected a {kind.__name__}, got {type(item).__name__}")
        if item.name != name:  # type: ignore[attr-defined]
            raise ValueError(f"the {kind.__name__} is named {item.name!r}")  # type: ignore[attr-defined]
        return item

    return check

"""OWLabel: open-world labelling for segmentation.  Opens no window.

The names below are loaded on first use, so ``import owlabel`` stays quick and never imports torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from owlabel.novel.label_maps import LabelMap as LabelMap
    from owlabel.ood.registry import SCORES as SCORES
    from owlabel.session.session import Session as Session
    from owlabel.view.open_project import open_project as open_project

__version__ = "0.1.0"
__all__ = ["SCORES", "LabelMap", "Session", "__version__", "open_project"]

_PLACES = {
    "LabelMap": ("owlabel.novel.label_maps", "LabelMap"),
    "SCORES": ("owlabel.ood.registry", "SCORES"),
    "Session": ("owlabel.session.session", "Session"),
    "open_project": ("owlabel.view.open_project", "open_project"),
}
"""Public name to the module that holds it, and its name there."""


def __getattr__(name: str) -> Any:
    """Load a public name on first use."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _PLACES[name]
    return globals().setdefault(name, getattr(import_module(module), attribute))


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted(__all__)

"""A form made from the fields of a request."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from magicgui.widgets import Container, create_widget
from pydantic.fields import FieldInfo
from qtpy.QtCore import QLocale
from qtpy.QtWidgets import QFileDialog

from owlabel.checked_fields import CheckedFields, bounds, choices, shown

R = TypeVar("R", bound=CheckedFields)
SMALLEST = {int: 1, float: 0.01}
"""The smallest change of a number that a spin box shows."""
MOST = 2**31 - 1
"""The largest number of a Qt spin box."""


class RequestForm(Generic[R]):
    """Labelled fields for a request: spin boxes, choices, check boxes and lines of text.

    Label, tooltip, range, step and start value come from the request's class.

    Parameters
    ----------
    request : type of CheckedFields
    names : str
        The fields to show, in this order.  Fields left out keep their defaults.
    start : value
        Start values that differ from the defaults.
    """

    def __init__(self, request: type[R], *names: str, **start: Any) -> None:
        self._request = request
        fields = request.model_fields
        widgets = [_widget(n, fields[n], start.get(n, fields[n].default)) for n in names]
        self.container = Container(widgets=widgets, labels=True)
        self.container.margins = (0, 0, 0, 0)
        self.native = self.container.native

    def __getitem__(self, name: str) -> Any:
        """Return the widget of a field."""
        return self.container[name]

    def request(self, **others: Any) -> R:
        """Return the request that the form asks for, with other fields set as given.

        Raises
        ------
        ValueError
            If the values do not fit together.
        """
        return self._request(**{**self.container.asdict(), **others})

    def choose_folder(self, name: str, title: str) -> None:
        """Let the user choose a folder for a field; a cancelled dialog changes nothing."""
        self._set_path(name, QFileDialog.getExistingDirectory(self.native, title))

    def choose_file(self, name: str, title: str, kinds: str) -> None:
        """Let the user choose a file for a field, of kinds like ``"COCO (*.json)"``."""
        self._set_path(name, QFileDialog.getOpenFileName(self.native, title, "", kinds)[0])

    def _set_path(self, name: str, path: str) -> None:
        if path:
            self[name].value = path


def _widget(name: str, info: FieldInfo, value: Any) -> Any:
    options: dict[str, Any] = {"tooltip": info.description}
    values, words = choices(info), shown(info).words
    if values:
        options |= {"choices": [(words.get(choice, choice), choice) for choice in values]}
    elif info.annotation in SMALLEST:
        options |= _range(info)
    made: Any = create_widget(
        value,
        annotation=None if values else info.annotation,
        name=name,
        label=info.title,
        widget_type="ComboBox" if values else None,
        options=options,
    )
    made.native.setLocale(QLocale.c())  # 0.25 is typed with a point, whatever the system's language
    return made


def _range(info: FieldInfo) -> dict[str, Any]:
    """Return the range and the step of a spin box."""
    limits, smallest = bounds(info), SMALLEST[info.annotation]  # type: ignore[index]
    low = limits.get("ge", limits.get("gt", 0) + smallest)
    high = limits.get("le", limits.get("lt", MOST) - smallest)
    return {"min": low, "max": min(high, MOST), "step": shown(info).step}

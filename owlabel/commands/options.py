"""Make the options of a command from the fields of a request."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import partial, wraps
from typing import Annotated, Any, TypeVar

import typer
from pydantic.fields import FieldInfo

from owlabel.checked_fields import CheckedFields, bounds, choices, shown

R = TypeVar("R", bound=CheckedFields)
MakeRequest = Callable[..., R]
"""Build the request from the options of the command line; keywords set the fields left out."""


def request_options(
    request: type[R], *, leave: tuple[str, ...] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that gives a command one option for each field of a request.

    The options replace the command's parameter ``make: MakeRequest[...]``. The command calls
    ``make()`` to check the values and build the request. A field without a default becomes an
    argument. The fields of a request inside the request become options, too.

    Parameters
    ----------
    request : type of CheckedFields
    leave : tuple of str
        Fields that get no option: the command passes them to ``make``.
    """
    fields = {name: info for name, info in _fields(request) if name not in leave}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        parameters: list[inspect.Parameter] = []
        for parameter in signature.parameters.values():
            if parameter.name == "make":
                parameters += [_parameter(name, info) for name, info in fields.items()]
            else:
                parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

        @wraps(command)
        def run(**values: Any) -> None:
            asked = {name: values.pop(name) for name in fields}
            command(**values, make=partial(_make, request, asked))

        run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        return run

    return decorate


def _make(request: type[R], asked: dict[str, Any], **others: Any) -> R:
    """Build a request, and the requests inside it, from the values of its options."""
    values = {name: asked[name] for name in request.model_fields if name in asked}
    for name, info in request.model_fields.items():
        inner = _inner(info)
        if inner is not None:
            values[name] = _make(inner, asked)
    return request(**values, **others)


def _fields(request: type[CheckedFields]) -> Iterator[tuple[str, FieldInfo]]:
    """Yield the fields of a request and of the requests inside it."""
    for name, info in request.model_fields.items():
        inner = _inner(info)
        if inner is None:
            yield name, info
        else:
            yield from _fields(inner)


def _inner(info: FieldInfo) -> type[CheckedFields] | None:
    """Return the class of a field that is a request itself, else None."""
    kind = info.annotation
    return kind if isinstance(kind, type) and issubclass(kind, CheckedFields) else None


def _parameter(name: str, info: FieldInfo) -> inspect.Parameter:
    kind: Any = str if choices(info) else info.annotation
    keyword = inspect.Parameter.KEYWORD_ONLY
    if info.is_required():
        argument = typer.Argument(help=info.description)
        return inspect.Parameter(name, keyword, annotation=Annotated[kind, argument])
    limits = bounds(info)
    option = typer.Option(
        shown(info).option or f"--{name.replace('_', '-')}",
        help=_help(info),
        min=limits.get("ge"),
        max=limits.get("le"),
    )
    return inspect.Parameter(
        name, keyword, default=info.default, annotation=Annotated[kind, option]
    )


def _help(info: FieldInfo) -> str:
    names = choices(info)
    one_of = f" One of {', '.join(names)}." if names else ""
    return f"{info.description}{one_of}"

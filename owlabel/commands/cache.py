"""``owlabel cache``: how large the cache of a project is, and how large it may be."""

from __future__ import annotations

from typing import Annotated

import typer

from owlabel.commands.console import ProjectArg, out, sitting
from owlabel.project.cache_eviction import cache_limit, trim_cache, trim_message
from owlabel.project.storage.feature_cache import GIB


def cache(
    project: ProjectArg,
    limit: Annotated[float | None, typer.Option(help="New limit of the cache, in GiB.")] = None,
) -> None:
    """Trim a project's cache to its limit and show its size.

    Only embeddings of models that are not in use are removed, the longest unused first.  They are
    computed again when they are needed.
    """
    with sitting(project) as session:
        if limit is not None:
            session.settings.set(cache_limit_gib=limit)
        done, allowed = trim_cache(session.project), cache_limit(session.project)
        message = trim_message(done, allowed)
        if message is not None:
            out.print(message[1], markup=False, highlight=False)
        out.print(f"{done.left / GIB:.2f} GiB of {allowed:g}", highlight=False)

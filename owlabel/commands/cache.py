"""``owlabel cache``: show the size of a project's cache and set its limit."""

from __future__ import annotations

from typing import Annotated

import typer

from owlabel.commands.console import ProjectArg, open_session, out
from owlabel.project.cache_eviction import cache_limit, trim_cache, trim_message
from owlabel.project.storage.feature_cache import GIB


def cache(
    project: ProjectArg,
    limit: Annotated[float | None, typer.Option(help="New limit of the cache, in GiB.")] = None,
) -> None:
    """Show the size of a project's cache, set its limit, and remove what exceeds the limit.

    Only embeddings of models that are not in use are removed, the longest unused first. They are
    computed again when needed.
    """
    with open_session(project) as session:
        if limit is not None:
            session.settings.set(cache_limit_gib=limit)
        trimmed, limit_gib = trim_cache(session.project), cache_limit(session.project)
        message = trim_message(trimmed, limit_gib)
        if message is not None:
            out.print(message[1])
        out.print(f"{trimmed.left / GIB:.2f} GiB of {limit_gib:g}")

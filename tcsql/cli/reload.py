"""``tcsql reload``: a running server reads its configuration file again."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
import typer

from tcsql.cli.remote import HERE, KeyFile, Url, document, server_at


def reload(
    url: Url = HERE,
    *,
    key_file: KeyFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="the reply as it is")] = False,
) -> None:
    """Let the running server read its configuration file again, and tell what has changed.

    Published queries, sources and the certificate change at once; options count from the next start. A mistake in the
    file changes nothing.
    """
    told: dict[str, Any] = document(server_at(url, key_file), "/reload", method="POST")
    if as_json:
        print(orjson.dumps(told, option=orjson.OPT_INDENT_2).decode())
        return
    for line in _lines(told):
        print(line)


def _lines(told: dict[str, Any]) -> list[str]:
    """What has changed, for people.

    >>> same = {"added": [], "changed": [], "removed": []}
    >>> _lines({"published": same | {"added": ["a", "b"]}, "sources": same, "certificate": None, "at_next_start": []})
    ['published queries: a, b added']
    """
    lines = []
    for what, title in (("published", "published queries"), ("sources", "sources")):
        lines += [f"{title}: {', '.join(names)} {how}" for how, names in told[what].items() if names]
    if told["certificate"] is not None:
        lines.append(f"certificate: {told['certificate']}")
    if told["at_next_start"]:
        lines.append(f"at the next start: {', '.join(told['at_next_start'])}")
    return lines or ["nothing has changed"]

"""``tcsql key make, list, show, rotate, revoke``: the keys of a server, in the file that it watches.

They work on the data directory, so that the first key needs no other and none is needed when all are lost; a running
server takes what was done within a second. The token of a key is printed once, alone on standard output; its secret
is nowhere afterwards.
"""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import orjson
import typer

from tcsql.access.keyfile import KeyFile
from tcsql.access.keys import ID_BYTES, SECRET_BYTES, Key, Keys, State, check, digest_of, revoked, rotated, token_of
from tcsql.access.keytext import date_text, plain
from tcsql.access.scopes import Scope
from tcsql.cli.console import console, safe, table_of
from tcsql.cli.limits import columns_of, filters_of, moment_of, seconds_of
from tcsql.cli.options import effective_settings
from tcsql.errors import SetupError, did_you_mean

key = typer.Typer(
    name="key",
    help="Make, show, rotate and revoke the keys of a server. As soon as there is one, nobody gets in without.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(help="the key's name, or its id", show_default=False)]
Data = Annotated[Path | None, typer.Option(help="the server's data directory (default: as the settings say)")]
Config = Annotated[Path | None, typer.Option(help="configuration file (default: tcsql.toml if it exists)")]
AsJson = Annotated[bool, typer.Option("--json", help="as JSON")]

_LIMITS: Final = ("columns", "filters", "rate", "burst", "max_rows", "budget_rows")


@key.command()
def make(
    name: Annotated[str, typer.Argument(help="whose key it is: letters, digits, _ . and -", show_default=False)],
    *,
    scope: Annotated[
        list[str] | None,
        typer.Option(help=f"what it may do: {', '.join(Scope)}; can be given several times", show_default=False),
    ] = None,
    table: Annotated[
        list[str] | None, typer.Option("--table", "-t", help="a table that it may touch (default: all)")
    ] = None,
    columns: Annotated[
        list[str] | None, typer.Option(help="the only columns of a table that exist for it: posts=id,title")
    ] = None,
    filter: Annotated[  # noqa: A002  # the option's name
        list[str] | None, typer.Option(help="the only rows of a table that exist for it: posts=tenant:NUMEQ:5")
    ] = None,
    rate: Annotated[float | None, typer.Option(help="requests a second (default: any number)")] = None,
    burst: Annotated[float | None, typer.Option(help="requests at once (default: twice the rate)")] = None,
    max_rows: Annotated[int | None, typer.Option(help="rows of one page (default: as the settings say)")] = None,
    budget: Annotated[int | None, typer.Option(help="rows that one query may examine (default: likewise)")] = None,
    expires: Annotated[
        str | None, typer.Option(help="when it ends: 12h, 90d, 2027-01-31, 2027-01-31T12:00:00Z (default: never)")
    ] = None,
    data: Data = None,
    config: Config = None,
) -> None:
    """Make a key, and print it. It is shown this once: KEY=$(tcsql key make web --scope read)."""
    now = int(time.time())
    draft = Key(
        id="",
        name=name,
        sha256=b"",
        scopes=_scopes(scope or []),
        made=now,
        tables=frozenset(table) if table else None,
        columns=columns_of(columns or []),
        filters=filters_of(filter or []),
        rate=rate,
        burst=burst,
        max_rows=max_rows,
        budget_rows=budget,
        expires=None if expires is None else moment_of(expires, now),
    )
    check(draft)
    secret = secrets.token_bytes(SECRET_BYTES)

    def added(ring: Keys) -> Keys:
        if any(each.name == name and each.revoked is None for each in ring):
            raise SetupError(f"there is a key {name} already", "rotate or revoke it, or take another name")
        key_id = next(each for each in iter(lambda: secrets.token_hex(ID_BYTES), "") if ring.get(each) is None)
        return ring.with_(replace(draft, id=key_id, sha256=digest_of(token_of(key_id, secret))))

    file = _file(data, config)
    was_made = file.was_made
    ring = file.change(added)
    made = ring.named(name)
    _tell(f"key {made.name} (id {made.id}) in {file.path}: {_said(made)}")
    if made.columns and Scope.WRITE in made.scopes:
        _tell("a key that is limited to columns updates and deletes; inserts are refused, they replace whole rows")
    if len(ring) == 1 and not was_made:
        _tell("it is the first key: from now on who asks from this machine needs one, too")
    elif len(ring) == 1:
        _tell("it is the only key: those that were made before are gone with their file")
    print(token_of(made.id, secret))


@key.command("list")
def list_(
    data: Data = None,
    config: Config = None,
    *,
    as_json: AsJson = False,
    everything: Annotated[bool, typer.Option("--all", help="also those that were revoked")] = False,
) -> None:
    """Show the keys, without what proves them."""
    now = time.time()
    keys = [each for each in _file(data, config).read() or () if everything or each.revoked is None]
    if as_json:
        _print_json([{**plain(each), "state": each.state(now)} for each in keys])
        return
    if not keys:
        print("no key: tcsql key make makes one")
        return
    heads = ("id", "name", "state", "scopes", "tables", "limits", "made", "expires")
    console().print(table_of(heads, [_row(each, now) for each in keys]))


@key.command()
def show(name: Name, data: Data = None, config: Config = None, *, as_json: AsJson = False) -> None:
    """Show all that is known of one key."""
    found = (_file(data, config).read() or Keys()).named(name)
    about = {**plain(found), "state": found.state(time.time())}
    if as_json:
        _print_json(about)
        return
    for what, value in about.items():
        print(f"{what}: {safe(orjson.dumps(value).decode() if isinstance(value, (dict, list)) else value)}")


@key.command()
def rotate(
    name: Name,
    *,
    grace: Annotated[
        str | None, typer.Option(help="how long the secret that it had still works: 1h, 7d (default: not at all)")
    ] = None,
    data: Data = None,
    config: Config = None,
) -> None:
    """Give a key another secret, and print it. What the key may do stays."""
    now = int(time.time())
    grace_s = 0 if grace is None else seconds_of(grace)
    secret = secrets.token_bytes(SECRET_BYTES)

    def become(found: Key) -> Key:
        if found.state(now) is State.EXPIRED:
            raise SetupError(f"the key {found.name} has expired", "make another one: tcsql key make")
        return rotated(found, digest_of(token_of(found.id, secret)), now, grace_s)

    _, after = _replace(_file(data, config), name, become)
    end = f"works until {date_text(after.old_until)}" if after.old_until is not None else "does not work any more"
    _tell(f"key {after.name} (id {after.id}) has another secret; the one that it had {end}")
    print(token_of(after.id, secret))


@key.command()
def revoke(name: Name, data: Data = None, config: Config = None) -> None:
    """Make a key good for nothing, for ever. It stays in the file: a server that had keys does not open up."""
    before, after = _replace(_file(data, config), name, lambda found: revoked(found, int(time.time())))
    assert after.revoked is not None
    was = "was revoked already" if before == after else "is revoked"
    print(f"key {after.name} (id {after.id}) {was}, {date_text(after.revoked)}")


def _file(data: Path | None, config: Path | None) -> KeyFile:
    flags = {"data": None if data is None else str(data)}
    return KeyFile(Path(effective_settings(flags, None if config is None else str(config)).settings.data))


def _replace(file: KeyFile, name: str, become: Callable[[Key], Key]) -> tuple[Key, Key]:
    """The key before and after; raises SetupError when there is none of that name."""
    if file.read() is None:  # and nothing is made where nothing is
        raise SetupError(f"there are no keys in {file.path.parent}", "name the server's data directory with --data")
    pairs: list[tuple[Key, Key]] = []

    def changed(ring: Keys) -> Keys:
        found = ring.named(name)
        pairs.append((found, become(found)))
        return ring.with_(pairs[-1][1])

    file.change(changed)
    return pairs[-1]


def _scopes(names: Sequence[str]) -> frozenset[Scope]:
    for name in names:
        if name not in list(Scope):
            near = did_you_mean(name, Scope)
            raise SetupError(f"there is no scope {name[:40]!r}", near or f"scopes are: {', '.join(Scope)}")
    return frozenset(map(Scope, names))


def _row(each: Key, now: float) -> Sequence[object]:
    limited = [what for what in _LIMITS if getattr(each, what) is not None and getattr(each, what) != ()]
    return (
        each.id,
        each.name,
        each.state(now),
        ", ".join(scope for scope in Scope if scope in each.scopes),
        "all" if each.tables is None else ", ".join(sorted(each.tables)),
        ", ".join(limited) or "none",
        date_text(each.made),
        "never" if each.expires is None else date_text(each.expires),
    )


def _said(made: Key) -> str:
    scopes = ", ".join(scope for scope in Scope if scope in made.scopes)
    tables = "all tables" if made.tables is None else f"tables {', '.join(sorted(made.tables))}"
    end = "never expires" if made.expires is None else f"expires {date_text(made.expires)}"
    return f"{scopes}; {tables}; {end}"


def _print_json(value: object) -> None:
    print(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def _tell(line: str) -> None:
    """To people: standard output is for the token alone."""
    print(line, file=sys.stderr)

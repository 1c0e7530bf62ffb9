"""Callers: who sends a request, and what they may do. Values; whoever finds out who it is stands above.

    LOCAL       this machine, as long as no key has been made: everything
    ANONYMOUS   nobody in particular: published queries
    a key       its scopes, its limits, its meter

``Rights`` is what limits the rows and columns that a request can touch. Requests under equal rights share what has
been learnt about queries; everything else about a key (its rate, its name) belongs to its ``Caller``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tcsql.access.meters import Meter
from tcsql.access.scopes import Scope, held
from tcsql.errors import TCSQLError


@dataclass(frozen=True, slots=True)
class Rights:
    """What a caller may do, and with which rows.

    ``tables``: None, all. ``columns``: by table, those that exist for the caller. ``filters``: by table, conditions as
    in ``where``, which every row that is read, counted, changed, removed or written must meet. ``max_rows``: on one
    page; ``budget_rows``: examined by one query; None, as the settings say.
    """

    scopes: frozenset[Scope]
    tables: frozenset[str] | None = None
    columns: tuple[tuple[str, tuple[str, ...]], ...] = ()
    filters: tuple[tuple[str, str], ...] = ()
    max_rows: int | None = None
    budget_rows: int | None = None

    @property
    def is_partial(self) -> bool:
        """Whether there may be tables, columns or rows that do not exist for this caller."""
        return self.tables is not None or bool(self.columns or self.filters)

    @property
    def is_limited(self) -> bool:
        """Whether anything is there that this caller must not see, or see as others do."""
        limits = (self.max_rows, self.budget_rows, self.tables)
        return bool(self.columns or self.filters) or any(limit is not None for limit in limits)


@dataclass(frozen=True, slots=True, eq=False)
class Caller:
    """Who sends a request. ``id`` is all that is ever logged of a key. ``refused``: why its key is not taken.

    ``meter``: None, as many requests as it likes.
    """

    id: str
    rights: Rights
    meter: Meter | None = None
    refused: TCSQLError | None = None

    def has(self, scope: Scope | None) -> bool:
        """Whether it may do what needs that scope; None is open to all."""
        return scope is None or scope in self.rights.scopes


ALL_RIGHTS: Final = Rights(held({Scope.ADMIN}))
LOCAL: Final = Caller("local", ALL_RIGHTS)
ANONYMOUS: Final = Caller("anonymous", Rights(held(set())))

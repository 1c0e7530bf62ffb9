"""Known queries: requests with their operands cut out, each with the prepared query it means.

A client sends the same bytes again and again, with other operands: ``where=uid:NUMEQ:5`` today, ``:6`` tomorrow. What
lies around the operands is looked up as it is, without decoding, grammar or planning:

    b"command=select&where=dateline:NUMGE:1262304000|idtype:STREQ:blogid&limit_max=10"
    key       (b"command=select&", b"limit_max=10", b"dateline:NUMGE", b"idtype:STREQ")
    operands  [b"1262304000", b"blogid"]

A query becomes known when the careful way has answered it, and only if its operands are *plain*: letters and digits,
which mean themselves under percent-decoding, escapes and splitting. So any other plain operands in the same places
are read by the careful way to the same query, and to the same answer.

There are two look-ups. ``body`` takes a query string, whoever sends it: 1 us. ``request`` takes all bytes of a request,
headers and all, cut at its first two colons, which are those of the first condition: 0.4 us, and nothing is left to
parse. That saves 1.5 us of 10 a request, and costs an entry for each header block, of which a busy client sends one.

The answer itself takes 1 to 4 us; parameters and grammar alone took 15.

What a spelling means depends on who asks: each view of the catalog (``views``) has known queries of its own, branches
of the server's. A request is known by all of its bytes but the operands, which lie in its target (``_split_request``
loses nothing else), its Authorization among them; so another key, none, or another order of headers is another request,
and never finds this one. What keys may do can change: then all whole requests are forgotten.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final
from weakref import WeakSet

from tcsql.engine.prepared import Prepared
from tcsql.engine.query import Count, Query, Select
from tcsql.engine.shortcuts import Answered

#: What a server remembers. One entry takes about 1 KB; a client that varies its spelling only makes others learn again.
MOST_KNOWN: Final = 4_096
#: Of each view of a limited key: there may be hundreds of them.
MOST_OF_BRANCH: Final = 512
FEW_KNOWN: Final = 128
MOST_BYTES: Final = 1_024
MOST_REQUEST_BYTES: Final = 2_048
MOST_OPERANDS: Final = 4

Key = tuple[bytes, ...]
Operands = Sequence[bytes]


class Known(Answered):
    """One spelling of one shape. ``hits`` and ``rows``: what it has answered since it was last asked for them."""

    __slots__ = ("body", "operation", "prepared")

    def __init__(self, prepared: Prepared, query: Query) -> None:
        super().__init__()
        self.prepared = prepared
        self.operation = "count" if isinstance(query, Count) else "select"
        skip, limit = (query.skip, query.limit) if isinstance(query, Select) else (0, 0)
        #: The reply's body for plain operands; None when the careful way has to look at it.
        self.body = prepared.body(skip, limit, self)


def split(query: bytes) -> tuple[Key, Operands] | None:
    """A query string as what is looked up, and its operands; None when there are too many or they are not plain.

    >>> split(b"command=select&where=uid:NUMEQ:5&limit_max=1")
    ((b'command=select&', b'limit_max=1', b'uid:NUMEQ'), [b'5'])
    """
    if len(query) > MOST_BYTES:
        return None  # the careful way has limits of its own
    if b"%" in query:  # decoding comes before splitting, so these mean the same in every place
        query = query.replace(b"%7C", b"|").replace(b"%3A", b":").replace(b"%7c", b"|").replace(b"%3a", b":")
    head, found, rest = query.partition(b"where=")
    if not found:
        return (query,), []
    where, _, tail = rest.partition(b"&")
    if b"|" not in where:
        name, _, operand = where.rpartition(b":")
        return ((head, tail, name), [operand]) if operand.isalnum() else None
    conditions = where.split(b"|")
    if len(conditions) > MOST_OPERANDS:
        return None
    parts = [condition.rpartition(b":") for condition in conditions]
    operands = [part[2] for part in parts]
    return ((head, tail, *[part[0] for part in parts]), operands) if all(map(bytes.isalnum, operands)) else None


def _split_request(data: bytes) -> tuple[Key, Operands]:
    """What ``KnownQueries.request`` looks up, and up to two operands.

    >>> _split_request(b"GET /?where=uid:NUMEQ:5&limit_max=1 HTTP/1.1")
    ((b'GET /?where=uid', b'NUMEQ', b'limit_max=1 HTTP/1.1'), (b'5',))
    """
    before, _, rest = data.partition(b":")
    operator, _, rest = rest.partition(b":")
    parts = rest.partition(b"&")
    if parts[0].isalnum():
        return (before, operator, parts[2]), (parts[0],)
    return _split_other(data, before, operator, parts)


def _split_other(data: bytes, before: bytes, operator: bytes, rest: tuple[bytes, bytes, bytes]) -> tuple[Key, Operands]:
    """The same for two conditions, for the last parameter, and for none. Other places of operands: another key."""
    where, mark, tail = rest
    if mark:
        first, _, second = where.partition(b"|")
        name, _, operand = second.rpartition(b":")
        if first.isalnum() and name and operand.isalnum():  # without a name there may be no colon to put back
            return (before, operator, tail, name, b"&"), (first, operand)
        where += mark + tail  # this "&" may stand in a header
    where, _, tail = where.partition(b" ")
    first, bar, second = where.partition(b"|")
    name, _, operand = second.rpartition(b":")
    if first.isalnum():
        if name and operand.isalnum():
            return (before, operator, tail, name, b" "), (first, operand)
        if not bar:
            return (before, operator, tail, b" "), (first,)
    return (data,), ()


def _is_cut_alike(key: Key, request: Key) -> bool:
    """Whether both found the operands in the same places: a colon may stand in a name or a header, too."""
    head, _, first, *others = key
    column, operator, rest = request[0], request[1], request[3:4]
    return column + b":" + operator == b"GET /?" + head + b"where=" + first and (not others or [*rest] == others)


class KnownQueries:
    """What has been learnt of one view; that of all callers who see everything has the others as branches."""

    def __init__(self, most: int = MOST_KNOWN) -> None:
        self._most = most
        self._branches: WeakSet[KnownQueries] = WeakSet()
        self._known: dict[Key, Known] = {}
        self._requests: dict[Key, Known] = {}
        self._answered: Counter[str] = Counter()
        self._rows = 0
        self._is_stopped = False

    def branch(self) -> KnownQueries:
        """Known queries that share nothing but the counts and the end."""
        made = KnownQueries(MOST_OF_BRANCH)
        if self._is_stopped:
            made.stop()
        self._branches.add(made)
        return made

    def stop(self) -> None:
        """Answer nothing from now on."""
        self._is_stopped = True
        self._forget()
        for branch in self._branches:
            branch.stop()

    def forget_requests(self) -> None:
        """Know no request by its bytes any more: keys have changed."""
        self._gather()
        self._requests.clear()
        for branch in self._branches:
            branch.forget_requests()

    def body(self, query: bytes) -> bytes | None:
        """The body of the answer to a query string; None when it is not known, or not plain."""
        parts = split(query)
        if parts is None:
            return None
        known = self._known.get(parts[0])
        return None if known is None else known.body(parts[1])

    def request(self, data: bytes) -> bytes | None:
        """The same for all bytes of a request; None also when the request is not known."""
        before, _, rest = data.partition(b":")
        operator, _, rest = rest.partition(b":")
        parts = rest.partition(b"&")
        where = parts[0]
        if where.isalnum():  # as ``_split_request``, whose call would take 0.1 us
            known = self._requests.get((before, operator, parts[2]))
            return None if known is None else known.body((where,))
        key, operands = _split_other(data, before, operator, parts)
        known = self._requests.get(key)
        return None if known is None else known.body(operands)

    def learn(self, text: bytes, query: Query, prepared: Prepared) -> None:
        """Remember what a query string meant."""
        parts = split(text)
        if parts is None or self._is_stopped:
            return
        key, operands = parts
        if operands and (text.count(b"where=") > 1 or key[0][-1:] not in (b"", b"&")):
            return  # a where that is no parameter, or one of several
        meant = [condition.operand.encode() for conjunction in query.where.any_of for condition in conjunction]
        if meant != operands:
            return
        old = self._known.get(key)
        if old is not None:
            if old.prepared is prepared:
                return  # operands that it leaves to the careful way
            self._gather()
        elif len(self._known) >= self._most:
            self._forget()
        self._known[key] = Known(prepared, query)

    def learn_request(self, data: bytes, text: bytes) -> None:
        """Remember a request that holds a known query string and is ordinary in every other way."""
        parts, of_request = split(text), _split_request(data)
        if len(data) > MOST_REQUEST_BYTES or parts is None or [*parts[1]] != [*of_request[1]]:
            return
        if parts[1] and not _is_cut_alike(parts[0], of_request[0]):
            return
        known = self._known.get(parts[0])
        if known is not None:
            if len(self._requests) >= self._most:
                self._gather()
                self._requests.clear()
            self._requests[of_request[0]] = known

    def forget_stale(self) -> None:
        """Let go of tables and indexes that are gone: an entry holds them. 0.1 us an entry."""
        for known in (self._known, self._requests):
            for key in [key for key, each in known.items() if not each.prepared.is_current]:
                self._take(known.pop(key))
        for branch in self._branches:
            branch.forget_stale()

    def _forget(self) -> None:
        self._gather()
        self._known.clear()
        self._requests.clear()

    def _gather(self) -> None:
        for known in (self._known, self._requests):
            for each in known.values():
                self._take(each)

    def _take(self, known: Known) -> None:
        if not known.hits:
            return
        self._answered[known.operation] += known.hits
        self._rows += known.rows
        known.begin_anew()

    @property
    def hits(self) -> int:
        """Answers since the last harvest; of the entries only as many are asked as take 10 us."""
        entries = self._known if len(self._known) <= FEW_KNOWN else {}
        own = self._answered.total() + sum([known.hits for known in entries.values()])
        return own + sum([branch.hits for branch in self._branches]) if self._branches else own

    def harvest(self) -> tuple[Counter[str], int]:
        """Answers by operation, and rows in them, since the last call: counted where they are given, without a call."""
        self._gather()
        answered, rows = self._answered, self._rows
        self._answered, self._rows = Counter(), 0
        for branch in self._branches:
            more, more_rows = branch.harvest()
            answered += more
            rows += more_rows
        return answered, rows

"""The binary log of MySQL and MariaDB: bytes of events in, whole transactions of stored values out. Pure.

    parser = Parser({("shop", "posts"): expected}, Place())
    for event in events_of_file(data):              # or packets of a connection
        for item in parser.feed(event):
            match item:                             # Change, Misfit, Schema, Commit, Beat

Read in this order: ``events`` (frames, checksums, types), ``stream`` (events to transactions), ``tablemap`` and
``fitting`` (is this the table that we know?), ``rowsevent`` and ``compiled`` (bytes to rows), ``values`` (raw to stored
values), ``gather`` (transactions to what a step holds), ``receiving`` (a log as it comes).

Invariants:

    a value is the one that the outbox would have brought, to the letter: both end in ``mapping``
    bytes are read whole or not at all: what is left over, missing, unknown or broken is a BinlogFault, never a guess
    no more than one event is held beside what was asked for; transactions of any size come in changes and an end mark
"""

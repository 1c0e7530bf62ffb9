"""Readers and writers of bulk data: SQL dumps, CSV, TSV, NDJSON. Pure: bytes in, rows out; files are the CLI's.

A reader is fed pieces of bytes of any size and yields records (see ``records``) as soon as they are whole; its
``finish`` yields what is left. Nothing here looks at a clock, opens a file or knows a store.
"""

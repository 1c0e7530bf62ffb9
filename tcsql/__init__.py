"""TCSQL: a real-time list cache for MySQL."""

__version__ = "0.1.0"

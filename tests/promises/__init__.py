"""Experiments that prove promises: what strangers send, hostile work, hostile pages, long runs."""

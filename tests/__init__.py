"""Tests; ``tests.model`` is the naive truth that the engine is compared with."""

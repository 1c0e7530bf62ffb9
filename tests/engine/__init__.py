"""Unit and property tests of the engine's modules."""

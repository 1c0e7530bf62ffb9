"""Tests of the store: levels of durability, recovery, damage, faults of the disk."""

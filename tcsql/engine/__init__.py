"""The engine: tables in memory, their indexes, and the planner. Pure: no clock, no I/O, no await."""

"""Durability: ``Store`` is a database in memory and its SQLite file behind one write door. Read ``store`` first."""

"""The long experiments are collected by ``make torture`` only."""

from __future__ import annotations

from tests.results import is_torture

collect_ignore = [] if is_torture() else ["test_e19_hostile_page.py", "test_e24_soak.py"]

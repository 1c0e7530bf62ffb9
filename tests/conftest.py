"""One place for Hypothesis' ordinary and long runs; ``TCSQL_TEST_PROFILE=torture`` asks for the long one."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("default", deadline=None)  # a busy machine is no failure
settings.register_profile("torture", deadline=None, max_examples=4_000)
settings.load_profile(os.environ.get("TCSQL_TEST_PROFILE", "default"))

#: What takes minutes is a part of ``make torture`` only.
collect_ignore = [] if os.environ.get("TCSQL_TEST_PROFILE") == "torture" else ["test_faults_long.py"]

"""Planted faults name tests that exist; whether these see them is what ``make faults`` finds out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.faults.run import PATCHES, ROOT, Fault, faults_of

FAULTS = faults_of(PATCHES)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_says_what_it_is_and_names_tests_that_are_there(fault: Fault) -> None:
    assert fault.title.endswith("."), fault.name
    assert fault.tests, f"{fault.name} names no test"
    for name in fault.tests:
        file, _, function = name.partition("::")
        path = ROOT / file
        assert path.exists(), name
        plain = function.partition("[")[0]
        assert not plain or re.search(rf"def {plain}\(|^{plain} = ", path.read_text(), re.MULTILINE), name


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_changes_files_of_the_program(fault: Fault) -> None:
    changed = re.findall(r"^\+\+\+ b/(\S+)", fault.path.read_text(), re.MULTILINE)
    assert changed
    assert all(Path(name).parts[0] != "tests" and (ROOT / name).exists() for name in changed), changed

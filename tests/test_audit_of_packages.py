"""An audit that could not be made is never taken for one that found nothing."""

from __future__ import annotations

import pytest

from tests import audit

SOUND = {"name": "sound", "version": "1.0", "vulns": []}
HOLED = {"name": "holed", "version": "1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1"], "aliases": []}]}
UNKNOWN = {"name": "unknown", "skip_reason": "not found on PyPI"}
OURSELVES = {"name": "tcsql", "skip_reason": "editable"}


@pytest.mark.parametrize(
    ("packages", "status", "said"),
    [
        ([SOUND, OURSELVES], 0, "no known vulnerability"),
        ([SOUND, HOLED], 1, "holed 1.0: PYSEC-1; without it: 1.1"),
        ([UNKNOWN, HOLED], 1, "PYSEC-1"),
        ([SOUND, UNKNOWN], 2, "NOT AUDITED: unknown"),
        ([UNKNOWN, OURSELVES], 2, "NOT AUDITED"),
        ([], 2, "NOT AUDITED"),
        (None, 2, "NOT AUDITED"),
    ],
)
def test_what_an_audit_says(packages: list[dict[str, object]] | None, status: int, said: str) -> None:
    found, lines = audit.judged(packages)
    assert found == status
    assert said in "\n".join(lines)


def test_a_check_goes_on_without_a_network_and_an_audit_does_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audit, "audited", lambda: None)
    assert audit.main(["--if-reachable"]) == 0
    assert audit.main([]) == 2
    monkeypatch.setattr(audit, "audited", lambda: [HOLED])
    assert audit.main(["--if-reachable"]) == 1
    assert capsys.readouterr().out.count("NOT AUDITED") == 2

"""The benchmark of the pages still runs, at its smallest: no figure is judged."""

import json
from pathlib import Path

import pytest

from tests.bench import console, measure


def test_it_leaves_well_formed_results(
    office: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANGGE_E2E", office)
    monkeypatch.setattr(measure, "RESULTS", tmp_path)
    rows = json.loads(console.run(console.TINY).read_text())
    assert {row["what"].partition(", ")[0] for row in rows} <= {path for _, path in console.PAGES}
    assert rows
    for row in rows:
        assert row["ours"] > 0
        assert row["peer"] > 0

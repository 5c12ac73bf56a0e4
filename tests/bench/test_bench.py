"""The benchmarks still run, at their smallest, and leave what they promise: no figure is judged."""

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from tests.bench import append, http, kafka, lag, measure, query, rebuild, size

KAFKA = [
    pytest.mark.kafka,
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),  # of kafka-python
]


@pytest.mark.parametrize(
    ("name", "run"),
    [
        ("append", lambda: append.run(append.TINY)),
        ("http", lambda: http.run(http.TINY)),
        ("lag", lambda: lag.run(lag.TINY)),
        ("rebuild", lambda: rebuild.run(rebuild.TINY)),
        ("query", lambda: query.run(query.TINY)),
        ("size", lambda: size.run(size.TINY)),
        pytest.param("kafka", lambda: kafka.run(kafka.TINY), marks=KAFKA),
    ],
)
def test_each_leaves_well_formed_results(
    name: str, run: Callable[[], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "RESULTS", tmp_path)
    assert run() == tmp_path / f"{name}.json"
    rows = json.loads((tmp_path / f"{name}.json").read_text())
    assert rows
    for row in rows:
        assert set(row) == {field.name for field in fields(measure.Row)}
        assert row["what"]
        assert row["peer_name"]
        assert row["ours"] > 0
        assert row["peer"] > 0
        assert row["p50_ms"] <= row["p99_ms"]

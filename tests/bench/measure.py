"""What all benchmarks share: turns, processes, percentiles, the table and the file of results.

Both sides of a ratio are measured in one run, in alternating short turns, and their medians are
compared: a machine that is busy for a while is busy for both.
"""

import json
import os
import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, TypeVar

import psycopg
from psycopg import sql
from rich.console import Console
from rich.table import Table

from infra.postgres import EmbeddedPostgres

RESULTS: Final = Path(__file__).parents[2] / "build" / "bench"
"""Where each benchmark leaves ``NAME.json``."""

T = TypeVar("T")

console: Final = Console(width=160 if not os.isatty(1) else None)

_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One comparison: medians over ``runs`` turns, and what ours cost beside.

    ``ours`` and ``peer`` are in ``unit``; ``ratio`` above 1 is in our favour, unless the unit is a
    time or a size. ``cpu_us`` is processor time of the client or server, ``database_cpu_us`` of
    PostgreSQL, both in microseconds an event or a request.
    """

    what: str
    ours: float
    peer: float
    peer_name: str
    ratio: float
    unit: str
    runs: int
    p50_ms: float
    p99_ms: float
    rss_mb: float
    cpu_us: float = 0.0
    database_cpu_us: float = 0.0
    peer_p99_ms: float = 0.0
    peer_rss_mb: float = 0.0


@dataclass(frozen=True, slots=True)
class Turn:
    """What one turn of one side came to: how many in how many seconds, and how long each took."""

    done: int
    seconds: float
    waits: Sequence[float] = ()
    rss_mb: float = 0.0
    cpu_seconds: float = 0.0
    database_seconds: float = 0.0

    @property
    def rate(self) -> float:
        """How many a second."""
        return self.done / self.seconds


@dataclass(slots=True)
class Side:
    """All turns of one side."""

    turns: list[Turn] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """How many a second, the median turn."""
        return statistics.median(turn.rate for turn in self.turns)

    def percentile(self, share: float) -> float:
        """How long such a share of all took at most, in milliseconds; 0 where nobody looked."""
        return percentile([wait for turn in self.turns for wait in turn.waits], share) * 1000

    @property
    def rss_mb(self) -> float:
        """The most memory it had in any turn."""
        return max(turn.rss_mb for turn in self.turns)

    def each_us(self, what: Callable[[Turn], float]) -> float:
        """Some seconds of every turn as microseconds for each thing done."""
        done = sum(turn.done for turn in self.turns)
        return sum(map(what, self.turns)) / max(done, 1) * 1e6


def alternate(turns: int, sides: Mapping[str, Callable[[], Turn]]) -> dict[str, Side]:
    """Measure the sides in turn, so often each."""
    found = {name: Side() for name in sides}
    for _ in range(turns):
        for name, measure in sides.items():
            found[name].turns.append(measure())
    return found


def compare(what: str, ours: Side, peer: Side, peer_name: str, unit: str = "events/s") -> Row:
    """Rates against rates."""
    return Row(
        what=what,
        ours=round(ours.rate, 1),
        peer=round(peer.rate, 1),
        peer_name=peer_name,
        ratio=round(ours.rate / peer.rate, 2),
        unit=unit,
        runs=len(ours.turns),
        p50_ms=round(ours.percentile(0.5), 3),
        p99_ms=round(ours.percentile(0.99), 3),
        rss_mb=round(ours.rss_mb, 1),
        cpu_us=round(ours.each_us(lambda turn: turn.cpu_seconds), 1),
        database_cpu_us=round(ours.each_us(lambda turn: turn.database_seconds), 1),
        peer_p99_ms=round(peer.percentile(0.99), 3),
        peer_rss_mb=round(peer.rss_mb, 1),
    )


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that such a share of all does not exceed; 0 for none."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


# --- processes, as /proc shows them ---


def descendants(pid: int) -> list[int]:
    """The process and all that it started, as far as they live."""
    found = [pid]
    for parent in found:
        try:
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def cpu_seconds(pid: int) -> float:
    """Processor time of a process and its descendants, those that have ended too."""
    ticks = 0
    for each in descendants(pid):
        try:
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        # utime and stime; of the first also what its ended children used (cutime, cstime).
        ticks += sum(map(int, fields[11:15] if each == pid else fields[11:13]))
    return ticks / _TICKS


def rss_mb(pid: int, without: int = 0) -> float:
    """Memory that a process and its descendants hold of their own, in MB; ``without`` one of them
    and its own: PostgreSQL's share so much that to look at it takes 20 ms.

    What several of them share (the program's pages after a fork) counts once: it is the sum of the
    proportional sizes, where the kernel tells them.
    """
    total = 0
    for each in set(descendants(pid)).difference(descendants(without) if without else ()):
        try:
            rollup = Path(f"/proc/{each}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        total += next(int(line.split()[1]) for line in rollup.splitlines() if line[:4] == "Pss:")
    return total / 1024


# --- the database ---


@contextmanager
def durable_postgres() -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL of the benchmark's own that keeps what it has confirmed (fsync on)."""
    folder = Path(tempfile.mkdtemp(prefix="wangge-bench-"))
    folder.chmod(0o755)
    try:
        with EmbeddedPostgres(folder, durable=True) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def create_database(server: EmbeddedPostgres, name: str) -> str:
    """A new, empty database; returns the superuser's conninfo."""
    with psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return server.dsn(name)


# --- what is shown and kept ---


def publish(name: str, rows: Sequence[Row], *, notes: Sequence[str] = ()) -> Path:
    """Print the rows as a table and leave them as JSON; returns the file."""
    table = Table(title=f"bench: {name}", caption="\n".join(notes), caption_justify="left")
    table.add_column("what", no_wrap=True)
    heads = (
        "ours", "peer", "ratio", "unit", "runs", "p50 ms", "p99 ms", "MB", "CPU µs",
        "PG CPU µs", "peer p99", "peer MB",
    )  # fmt: skip
    for head in heads:
        table.add_column(head, justify="right")
    table.add_column("peer is", no_wrap=True)
    for row in rows:
        table.add_row(
            row.what,
            *(f"{value:,.{0 if value >= 100 else 2}f}" for value in (row.ours, row.peer)),
            f"{row.ratio:.2f}",
            row.unit,
            str(row.runs),
            *(
                f"{value:.{0 if value >= 100 else 2}f}" if value else ""
                for value in (
                    row.p50_ms, row.p99_ms, row.rss_mb, row.cpu_us, row.database_cpu_us,
                    row.peer_p99_ms, row.peer_rss_mb,
                )
            ),
            row.peer_name,
        )  # fmt: skip
    console.print(table)
    RESULTS.mkdir(parents=True, exist_ok=True)
    file = RESULTS / f"{name}.json"
    file.write_text(json.dumps([asdict(row) for row in rows], ensure_ascii=False, indent=2) + "\n")
    return file

"""The case card and the worklist (工作台): every case as it stands now.

Lists are filtered, sorted and paged in the database by keyset. Nothing here is personal but ids:
what people wrote, masked, and the search in it are the read model ``search``'s.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, assert_never

import psycopg

from domain.aggregates import CASE
from domain.case import events as e
from domain.history import Recorded
from projections.runner import Projection
from projections.tables import Table, case_id

SCHEMA: Final = """
CREATE TABLE cases (
    "case"        text COLLATE "C" PRIMARY KEY,
    version       integer     NOT NULL,
    state         text        COLLATE "C" NOT NULL,
    territory     text        COLLATE "C" NOT NULL,
    place_version integer     NOT NULL,
    place_name    text        NOT NULL,
    tier          smallint    NOT NULL,
    highest       smallint    NOT NULL,
    holder        text        COLLATE "C" NOT NULL,
    unit          text        COLLATE "C",
    worker        text        COLLATE "C",
    handler       text        COLLATE "C",
    reporter      text        COLLATE "C",
    source        text        NOT NULL,
    intake        smallint    NOT NULL,
    category      text        COLLATE "C",
    category_zh   text,
    category_en   text,
    size          text        COLLATE "C",
    longitude     double precision,
    latitude      double precision,
    occurred_at   timestamptz NOT NULL,
    reported_at   timestamptz NOT NULL,
    filed_at      timestamptz,
    due           timestamptz,
    provisional   boolean     NOT NULL,
    contact_due   timestamptz,
    contacted_at  timestamptz,
    parked_until  timestamptz,
    breached      boolean     NOT NULL,
    episode       integer     NOT NULL,
    returns       integer     NOT NULL,
    asked         text,
    asked_by      text        COLLATE "C",
    called        text[]      COLLATE "C" NOT NULL,
    parent        text        COLLATE "C",
    survivor      text        COLLATE "C",
    outcome       text        COLLATE "C",
    closed_at     timestamptz,
    updated_at    timestamptz NOT NULL,
    updated_by    text        COLLATE "C" NOT NULL
);
CREATE INDEX cases_due ON cases (coalesce(due, 'infinity'), "case");
CREATE INDEX cases_updated ON cases (updated_at DESC, "case" DESC);
CREATE INDEX cases_reported ON cases (reported_at DESC, "case" DESC);
CREATE INDEX cases_territory ON cases (territory, coalesce(due, 'infinity'), "case");
CREATE INDEX cases_holder ON cases (holder, coalesce(due, 'infinity'), "case");
CREATE INDEX cases_handler ON cases (handler, coalesce(due, 'infinity'), "case");
CREATE INDEX cases_worker ON cases (worker) WHERE worker IS NOT NULL;
CREATE INDEX cases_unit ON cases (unit) WHERE unit IS NOT NULL;
CREATE INDEX cases_called ON cases USING gin (called) WHERE called <> '{}';
CREATE INDEX cases_reporter ON cases (reporter) WHERE reporter IS NOT NULL;
CREATE INDEX cases_parent ON cases (parent) WHERE parent IS NOT NULL;
"""


@dataclass(slots=True)
class CaseRow:
    """A case as it stands. Instants are aware; ``tier``, ``highest`` and ``intake`` are 1 to 4.

    ``due`` is the adjusted one of the present episode, ``provisional`` while it may yet move;
    ``asked`` names the request that waits for a second person, ``called`` the units that were
    whistled for.
    """

    case: str
    version: int
    state: str
    territory: str
    place_version: int
    place_name: str
    tier: int
    highest: int
    holder: str
    unit: str | None
    worker: str | None
    handler: str | None
    reporter: str | None
    source: str
    intake: int
    category: str | None
    category_zh: str | None
    category_en: str | None
    size: str | None
    longitude: float | None
    latitude: float | None
    occurred_at: datetime
    reported_at: datetime
    filed_at: datetime | None
    due: datetime | None
    provisional: bool
    contact_due: datetime | None
    contacted_at: datetime | None
    parked_until: datetime | None
    breached: bool
    episode: int
    returns: int
    asked: str | None
    asked_by: str | None
    called: list[str]
    parent: str | None
    survivor: str | None
    outcome: str | None
    closed_at: datetime | None
    updated_at: datetime
    updated_by: str


CASES: Final = Table("cases", CaseRow, key=("case",))


def fold(row: CaseRow | None, recorded: Recorded[Any]) -> CaseRow:
    """The row after one more event of its case."""
    event: e.Event = recorded.event
    if isinstance(event, e.CaseReported):
        return _reported(recorded, event)
    assert row is not None, "the first event of a case is its report"
    row.version = recorded.version
    row.updated_at, row.updated_by = recorded.at, recorded.actor
    match event:
        case e.CaseFiled():
            _filed(row, event)
        case e.CaseReclassified():
            _classify(row, event)
            row.due, row.provisional = event.due, event.provisional
        case e.CaseRejected():
            row.state = "rejected"
        case e.VoidAsked():
            row.asked, row.asked_by = "void", event.by
        case e.CaseVoided():
            row.state, row.asked, row.asked_by = "void", None, None
        case e.CaseDispatched() | e.CaseTransferred():
            _assign(row, event.holder, event.unit, event.worker)
        case e.CaseAccepted():
            row.state, row.handler = "in_progress", event.handler
            if event.first_contact:
                row.contacted_at = event.at
        case e.CaseEscalated():
            _assign(row, event.holder)
            row.tier = event.tier
            row.highest = max(row.highest, event.tier)
        case e.CaseReturned():
            _assign(row, event.holder)
            row.tier, row.returns = event.tier, event.returns
        case e.CaseWhistled():
            row.called = sorted({*row.called, *event.units})
        case e.CaseMerged():
            row.state, row.survivor, row.asked, row.asked_by = "merged", event.into, None, None
        case e.ParkAsked():
            row.asked, row.asked_by = "park", event.by
        case e.CaseParked():
            row.state, row.parked_until = "parked", event.until
            row.asked, row.asked_by = None, None
        case e.CaseResumed():
            row.state, row.parked_until = "in_progress", None
            row.asked, row.asked_by = None, None
            row.due, row.provisional = event.due, event.provisional
        case e.ExtensionAsked():
            row.asked, row.asked_by = "extension", event.by
        case e.DeadlineExtended():
            row.asked, row.asked_by = None, None
            row.due, row.provisional = event.due, event.provisional
        case e.RequestDeclined():
            row.asked, row.asked_by = None, None
        case e.DeadlineBreached():
            row.breached = True
        case e.DueRecomputed():
            row.due, row.provisional = event.due, event.provisional
        case e.CaseResolved():
            row.state, row.handler = "resolved", event.handler
            row.asked, row.asked_by = None, None
        case e.CheckPassed():
            row.state = "checked"
        case e.CheckFailed():
            row.state = "in_progress"
        case e.CaseClosed():
            row.state, row.outcome, row.closed_at = "closed", event.outcome, event.at
            row.breached = row.breached or event.on_time is False
        case e.CaseEvaluated():
            row.state = "evaluated"
        case e.CaseReopened():
            _reopen(row, event)
        case (
            e.CaseVerified()
            | e.UnitReportedIn()
            | e.UnitAbsent()
            | e.CaseSplit()
            | e.CaseAbsorbed()
            | e.ChildEnded()
            | e.ChildReopened()
            | e.CallbackMade()
            | e.NoteAdded()
            | e.FileAttached()
            | e.RuleWaived()
        ):
            pass
        case _:
            assert_never(event)
    return row


def apply(connection: psycopg.Connection, page: Sequence[Recorded[Any]]) -> None:
    """Fold a page of case events into the tables."""
    rows = CASES.load(connection, {case_id(recorded) for recorded in page})
    for recorded in page:
        case = case_id(recorded)
        rows[case] = fold(rows.get(case), recorded)
    CASES.save(connection, list(rows.values()))


WORKLIST: Final = Projection(
    name="worklist",
    version=2,
    schema=SCHEMA,
    tables=(CASES,),
    events=CASE.events,
    apply=apply,
)


def _reported(recorded: Recorded[Any], event: e.CaseReported) -> CaseRow:
    return CaseRow(
        case=event.case,
        version=recorded.version,
        state="reported",
        territory=event.place.path,
        place_version=event.place.version,
        place_name=event.place.name,
        tier=event.tier,
        highest=event.tier,
        holder=event.place.path,
        unit=None,
        worker=None,
        handler=None,
        reporter=event.reporter.person if event.reporter else None,
        source=event.source,
        intake=event.intake,
        category=None,
        category_zh=None,
        category_en=None,
        size=None,
        longitude=event.spot.longitude,
        latitude=event.spot.latitude,
        occurred_at=event.occurred,
        reported_at=event.at,
        filed_at=None,
        due=None,
        provisional=False,
        contact_due=None,
        contacted_at=None,
        parked_until=None,
        breached=False,
        episode=event.episode,
        returns=0,
        asked=None,
        asked_by=None,
        called=[],
        parent=event.parent,
        survivor=None,
        outcome=None,
        closed_at=None,
        updated_at=recorded.at,
        updated_by=recorded.actor,
    )


def _filed(row: CaseRow, event: e.CaseFiled) -> None:
    _classify(row, event)
    row.state, row.filed_at, row.episode = "filed", event.at, event.episode
    row.tier, row.highest, row.holder = event.tier, event.tier, event.holder
    row.due, row.provisional = event.due, event.provisional
    row.contact_due = event.contact_due


def _classify(row: CaseRow, event: e.CaseFiled | e.CaseReclassified) -> None:
    row.category, row.size = event.terms.category, event.terms.size
    row.category_zh, row.category_en = event.terms.name_zh, event.terms.name_en


def _assign(row: CaseRow, holder: str, unit: str | None = None, worker: str | None = None) -> None:
    row.state, row.holder, row.unit, row.worker = "assigned", holder, unit, worker
    row.handler = None
    row.asked, row.asked_by = None, None


def _reopen(row: CaseRow, event: e.CaseReopened) -> None:
    _assign(row, event.holder)
    row.episode, row.outcome, row.closed_at = event.episode, None, None
    row.due, row.provisional, row.breached = event.due, event.provisional, False
    row.contact_due, row.contacted_at = event.contact_due, None

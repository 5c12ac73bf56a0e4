"""The case card and the worklist (工作台): every case as it stands now, and as it stood before.

Lists are filtered, sorted and paged in the database by keyset. Nothing here is personal but ids:
what people wrote, masked, and the search in it are the read model ``search``'s. The rows of the
past (``past_cases``) come out of the same fold.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias

import psycopg

from domain.aggregates import CASE, case_stream
from domain.case import events as e
from domain.case.states import OPEN, holder_at
from domain.history import Recorded
from projections import past_cases
from projections.past_cases import PAST
from projections.projection import Projection
from projections.shapes import ByEvent, class_of
from projections.tables import Stepwise, Table, case_id

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
    filed_size    text        COLLATE "C",
    longitude     double precision,
    latitude      double precision,
    occurred_at   timestamptz NOT NULL,
    reported_at   timestamptz NOT NULL,
    filed_at      timestamptz,
    due           timestamptz,
    provisional   boolean     NOT NULL,
    limit_amount  integer,
    limit_unit    text        COLLATE "C",
    contact_due   timestamptz,
    contacted_at  timestamptz,
    parked_until  timestamptz,
    breached      boolean     NOT NULL,
    episode       integer     NOT NULL,
    returns       integer     NOT NULL,
    sent_back     text        COLLATE "C",
    asked         text,
    asked_by      text        COLLATE "C",
    called        text[]      COLLATE "C" NOT NULL,
    awaited       text[]      COLLATE "C" NOT NULL,
    parent        text        COLLATE "C",
    survivor      text        COLLATE "C",
    outcome       text        COLLATE "C",
    closed_at     timestamptz,
    called_back   boolean     NOT NULL,
    callback_days     integer,
    callback_attempts integer,
    callback_until    timestamptz,
    updated_at    timestamptz NOT NULL,
    updated_by    text        COLLATE "C" NOT NULL
);
"""

_IS_OPEN: Final = f"state IN ({', '.join(map(repr, map(str, OPEN)))})"

INDEXES: Final = f"""
CREATE INDEX cases_open ON cases (coalesce(due, 'infinity'), "case")
    WHERE {_IS_OPEN};
CREATE INDEX cases_open_in ON cases (territory) WHERE {_IS_OPEN};
CREATE INDEX cases_open_held ON cases (holder) WHERE {_IS_OPEN};
CREATE INDEX cases_due ON cases (coalesce(due, 'infinity'), "case");
CREATE INDEX cases_updated ON cases (updated_at DESC, "case" DESC);
CREATE INDEX cases_reported ON cases (reported_at DESC, "case" DESC);
CREATE INDEX cases_territory ON cases (territory, coalesce(due, 'infinity'), "case");
CREATE INDEX cases_holder ON cases (holder, coalesce(due, 'infinity'), "case");
CREATE INDEX cases_handler ON cases (handler, coalesce(due, 'infinity'), "case");
CREATE INDEX cases_asked ON cases (asked) WHERE asked IS NOT NULL;
CREATE INDEX cases_callback ON cases (callback_until) WHERE callback_until IS NOT NULL;
CREATE INDEX cases_worker ON cases (worker) WHERE worker IS NOT NULL;
CREATE INDEX cases_unit ON cases (unit) WHERE unit IS NOT NULL;
CREATE INDEX cases_called ON cases USING gin (called) WHERE called <> '{{}}';
CREATE INDEX cases_awaited ON cases USING gin (awaited) WHERE awaited <> '{{}}';
CREATE INDEX cases_reporter ON cases (reporter) WHERE reporter IS NOT NULL;
CREATE INDEX cases_parent ON cases (parent) WHERE parent IS NOT NULL;
"""


@dataclass(slots=True)
class CaseRow:
    """A case as it stands. Instants are aware; ``tier``, ``highest`` and ``intake`` are 1 to 4.

    ``filed_size`` is the class at first filing, by which figures count; a reclassification changes
    ``size`` alone. ``due`` is the adjusted one of the present episode, ``provisional`` while it may
    yet move, out of the limit that was frozen at filing; ``sent_back`` says why a case is at hand
    once more: ``returned`` by a tier above, ``failed`` at the check, ``reopened``; ``called_back``
    that the resident was reached since it was closed. ``callback_until`` is the last instant of the
    callbacks that are still owed to a closed case, by the rules it was filed with, which allow
    ``callback_attempts`` within ``callback_days`` of closing. ``asked`` names the request that
    waits for a second person, ``called`` the units that were whistled for,
    ``awaited`` those of them that have neither reported in nor been marked absent.
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
    filed_size: str | None
    longitude: float | None
    latitude: float | None
    occurred_at: datetime
    reported_at: datetime
    filed_at: datetime | None
    due: datetime | None
    provisional: bool
    limit_amount: int | None
    limit_unit: str | None
    contact_due: datetime | None
    contacted_at: datetime | None
    parked_until: datetime | None
    breached: bool
    episode: int
    returns: int
    sent_back: str | None
    asked: str | None
    asked_by: str | None
    called: list[str]
    awaited: list[str]
    parent: str | None
    survivor: str | None
    outcome: str | None
    closed_at: datetime | None
    called_back: bool
    callback_days: int | None
    callback_attempts: int | None
    callback_until: datetime | None
    updated_at: datetime
    updated_by: str


CASES: Final = Table("cases", CaseRow, key=("case",), copied=True)


def fold(row: CaseRow | None, recorded: Recorded[Any]) -> CaseRow:
    """The row after one more event of its case, which may be given in its shape (``READS``)."""
    event = recorded.event
    if row is None:
        return _reported(recorded, event)
    row.version = recorded.version
    row.updated_at, row.updated_by = recorded.at, recorded.actor
    change = _CHANGES_OF[type(event)]
    if change is not None:
        change(row, event)
    return row


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
        holder=holder_at(event.place.path, event.tier),
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
        filed_size=None,
        longitude=event.spot.longitude,
        latitude=event.spot.latitude,
        occurred_at=event.occurred,
        reported_at=event.at,
        filed_at=None,
        due=None,
        provisional=False,
        limit_amount=None,
        limit_unit=None,
        contact_due=None,
        contacted_at=None,
        parked_until=None,
        breached=False,
        episode=event.episode,
        returns=0,
        sent_back=None,
        asked=None,
        asked_by=None,
        called=[],
        awaited=[],
        parent=event.parent,
        survivor=None,
        outcome=None,
        closed_at=None,
        called_back=False,
        callback_days=None,
        callback_attempts=None,
        callback_until=None,
        updated_at=recorded.at,
        updated_by=recorded.actor,
    )


def _filed(row: CaseRow, event: e.CaseFiled) -> None:
    _classify(row, event)
    row.state, row.filed_at, row.episode = "filed", event.at, event.episode
    row.tier, row.highest, row.holder = event.tier, event.tier, event.holder
    row.due, row.provisional = event.due, event.provisional
    row.contact_due = event.contact_due
    row.filed_size = row.size


def _reclassified(row: CaseRow, event: e.CaseReclassified) -> None:
    _classify(row, event)
    _redated(row, event)


def _rejected(row: CaseRow, _: e.CaseRejected) -> None:
    row.state = "rejected"


def _void_asked(row: CaseRow, event: e.VoidAsked) -> None:
    row.asked, row.asked_by = "void", event.by


def _voided(row: CaseRow, _: e.CaseVoided) -> None:
    row.state = "void"
    _answered(row)


def _dispatched(row: CaseRow, event: e.CaseDispatched | e.CaseTransferred) -> None:
    _assign(row, event.holder, event.unit, event.worker)


def _accepted(row: CaseRow, event: e.CaseAccepted) -> None:
    row.state, row.handler = "in_progress", event.handler
    _answered(row)
    if event.first_contact:
        row.contacted_at = event.at


def _escalated(row: CaseRow, event: e.CaseEscalated) -> None:
    _assign(row, event.holder)
    row.tier = event.tier
    row.highest = max(row.highest, event.tier)
    row.sent_back = None


def _returned(row: CaseRow, event: e.CaseReturned) -> None:
    _assign(row, event.holder)
    row.tier, row.returns = event.tier, event.returns
    row.sent_back = "returned"


def _whistled(row: CaseRow, event: e.CaseWhistled) -> None:
    row.called = sorted({*row.called, *event.units})
    row.awaited = sorted({*row.awaited, *event.units})


def _call_answered(row: CaseRow, event: e.UnitReportedIn | e.UnitAbsent) -> None:
    row.awaited = [unit for unit in row.awaited if unit != event.unit]


def _merged(row: CaseRow, event: e.CaseMerged) -> None:
    row.state, row.survivor = "merged", event.into
    _answered(row)


def _park_asked(row: CaseRow, event: e.ParkAsked) -> None:
    row.asked, row.asked_by = "park", event.by


def _parked(row: CaseRow, event: e.CaseParked) -> None:
    row.state, row.parked_until = "parked", event.until
    _answered(row)


def _resumed(row: CaseRow, event: e.CaseResumed) -> None:
    row.state, row.parked_until = "in_progress", None
    _redated(row, event)


def _extension_asked(row: CaseRow, event: e.ExtensionAsked) -> None:
    row.asked, row.asked_by = "extension", event.by


def _extended(row: CaseRow, event: e.DeadlineExtended) -> None:
    _answered(row)
    _redated(row, event)


def _answered(row: CaseRow, _: e.RequestDeclined | None = None) -> None:
    row.asked, row.asked_by = None, None


def _breached(row: CaseRow, _: e.DeadlineBreached) -> None:
    row.breached = True


def _redated(row: CaseRow, event: Any) -> None:
    row.due, row.provisional = event.due, event.provisional


def _contact_reckoned(row: CaseRow, event: e.ContactDueReckoned) -> None:
    row.contact_due = event.contact_due


def _resolved(row: CaseRow, event: e.CaseResolved) -> None:
    row.state, row.handler, row.sent_back = "resolved", event.handler, None
    _answered(row)


def _passed(row: CaseRow, _: e.CheckPassed) -> None:
    row.state = "checked"


def _failed(row: CaseRow, _: e.CheckFailed) -> None:
    row.state, row.sent_back = "in_progress", "failed"


def _closed(row: CaseRow, event: e.CaseClosed) -> None:
    row.state, row.outcome, row.closed_at = "closed", event.outcome, event.at
    row.breached = row.breached or event.on_time is False
    row.sent_back = None
    if row.callback_days is not None:  # else its filing was left out here
        row.callback_until = event.at + timedelta(days=row.callback_days)


def _called_back(row: CaseRow, event: e.CallbackMade) -> None:
    row.called_back = row.called_back or event.reached
    most = row.callback_attempts
    if event.reached or most is None or event.attempt >= most:
        row.callback_until = None


def _evaluated(row: CaseRow, _: e.CaseEvaluated) -> None:
    row.state, row.callback_until = "evaluated", None


def _reopened(row: CaseRow, event: e.CaseReopened) -> None:
    _assign(row, event.holder)
    row.episode, row.outcome, row.closed_at = event.episode, None, None
    row.due, row.provisional, row.breached = event.due, event.provisional, False
    row.contact_due, row.contacted_at = event.contact_due, None
    row.sent_back, row.called_back, row.callback_until = "reopened", False, None


def _classify(row: CaseRow, event: e.CaseFiled | e.CaseReclassified) -> None:
    row.category, row.size = event.terms.category, event.terms.size
    row.category_zh, row.category_en = event.terms.name_zh, event.terms.name_en
    limit = event.terms.sla.limit
    row.limit_amount = None if limit is None else limit.amount
    row.limit_unit = None if limit is None else limit.unit
    policy = event.terms.policy
    row.callback_days = policy.callback_window_days
    row.callback_attempts = policy.callback_attempts


def _assign(row: CaseRow, holder: str, unit: str | None = None, worker: str | None = None) -> None:
    row.state, row.holder, row.unit, row.worker = "assigned", holder, unit, worker
    row.handler = None
    _answered(row)


Change: TypeAlias = Callable[[CaseRow, Any], None]

_TERMS: Final = (
    "terms.category terms.size terms.name_zh terms.name_en"
    " terms.sla.limit.amount terms.sla.limit.unit"
    " terms.policy.callback_window_days terms.policy.callback_attempts"
)
_DUE: Final = "due provisional"

_CHANGES: Final[dict[type, tuple[Change | None, str]]] = {
    e.CaseReported: (
        None,
        "at tier episode case place.path place.version place.name source intake spot.longitude"
        " spot.latitude reporter.person occurred parent",
    ),
    e.CaseFiled: (_filed, f"at tier episode holder contact_due {_TERMS} {_DUE}"),
    e.CaseReclassified: (_reclassified, f"{_TERMS} {_DUE}"),
    e.CaseRejected: (_rejected, ""),
    e.VoidAsked: (_void_asked, "by"),
    e.CaseVoided: (_voided, ""),
    e.CaseDispatched: (_dispatched, "holder unit worker"),
    e.CaseTransferred: (_dispatched, "holder unit worker"),
    e.CaseAccepted: (_accepted, "at handler first_contact"),
    e.CaseEscalated: (_escalated, "tier holder"),
    e.CaseReturned: (_returned, "tier holder returns"),
    e.CaseWhistled: (_whistled, "units"),
    e.UnitReportedIn: (_call_answered, "unit"),
    e.UnitAbsent: (_call_answered, "unit"),
    e.CaseMerged: (_merged, "into"),
    e.ParkAsked: (_park_asked, "by"),
    e.CaseParked: (_parked, "until"),
    e.CaseResumed: (_resumed, _DUE),
    e.ExtensionAsked: (_extension_asked, "by"),
    e.DeadlineExtended: (_extended, _DUE),
    e.RequestDeclined: (_answered, ""),
    e.DeadlineBreached: (_breached, ""),
    e.DueRecomputed: (_redated, _DUE),
    e.ContactDueReckoned: (_contact_reckoned, "contact_due"),
    e.CaseResolved: (_resolved, "handler"),
    e.CheckPassed: (_passed, ""),
    e.CheckFailed: (_failed, ""),
    e.CaseClosed: (_closed, "at outcome on_time"),
    e.CallbackMade: (_called_back, "attempt reached"),
    e.CaseEvaluated: (_evaluated, ""),
    e.CaseReopened: (_reopened, f"holder episode contact_due {_DUE}"),
    e.CaseVerified: (None, ""),
    e.CaseSplit: (None, ""),
    e.CaseAbsorbed: (None, ""),
    e.ChildEnded: (None, ""),
    e.ChildReopened: (None, ""),
    e.DueReminded: (None, ""),
    e.ReopeningEnded: (None, ""),
    e.NoteAdded: (None, ""),
    e.FileAttached: (None, ""),
    e.RuleWaived: (None, ""),
}
"""What each event changes beside version and time, and which of its fields that needs.

A table and not a ``match``: by the end of forty patterns an event has waited longer than the rest
of the fold takes.
"""

READS: Final = {event: fields for event, (_, fields) in _CHANGES.items()}

_CHANGES_OF: Final = ByEvent({event: change for event, (change, _) in _CHANGES.items()})

assert set(_CHANGES) == set(CASE.events), "an event of a case is forgotten here"


@Stepwise
def apply(
    connection: psycopg.Connection, page: Sequence[Recorded[Any]], fresh: bool
) -> Iterator[None]:
    """Fold a page into both tables."""
    asked = None if fresh else CASES.ask(connection, {case_id(each) for each in page})
    yield
    # By stream: what a case says, and since when; None where that stands in the table.
    now: dict[str, tuple[int | None, CaseRow]] = {}
    if asked is not None:
        now = {case_stream(case): (None, row) for case, row in CASES.asked(asked).items()}
    past: list[tuple[Any, ...]] = []
    over: dict[str, int] = {}
    for recorded in page:
        position, stream = recorded.position, recorded.stream
        known = now.get(stream)
        if known is None:
            if _begins(recorded.event):
                now[stream] = (position, fold(None, recorded))
        else:
            begun, row = known
            if begun is None:
                over[row.case] = position
            else:
                past.append(past_cases.values(row, begun, position))
            now[stream] = (position, fold(row, recorded))
    past += [
        past_cases.values(row, begun, None) for begun, row in now.values() if begun is not None
    ]
    if over:
        past_cases.end(connection, over)
    (PAST.append_values if fresh else PAST.add_values)(connection, past)
    (CASES.append if fresh else CASES.save)(connection, [row for _, row in now.values()])


def _begins(event: Any) -> bool:
    """Whether a row begins with an event. A case whose report was left out (``SkipEvent``) has
    none, ever."""
    return class_of(type(event)) is e.CaseReported


WORKLIST: Final = Projection(
    name="worklist",
    version=8,
    schema=SCHEMA + past_cases.SCHEMA,
    indexes=INDEXES + past_cases.INDEXES,
    tables=(CASES, PAST),
    events=CASE.events,
    reads=READS,
    beside=("at", "actor"),
    apply=apply,
    instead_of=("past_cases",),
)

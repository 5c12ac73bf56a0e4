"""What holds for a case whatever anybody tries, in whatever order and at whatever time.

A world of five cases, four people who may do nearly everything, and an importer. Every step is
drawn: most are a natural next step of a case, some are anything at all. A command and
what belongs alongside it happen together or not at all, as they do in the log.
"""

import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import reduce
from itertools import pairwise
from typing import Any, Final, get_args

from hypothesis import given, settings
from hypothesis import strategies as st

from domain import case
from domain.calendar import Calendar
from domain.case import commands as c
from domain.case import events as e
from domain.case.clock import due_of, length
from domain.case.guards import SKEW, sources
from domain.case.states import (
    OPEN,
    Asked,
    Case,
    Clock,
    Facts,
    Known,
    Merged,
    Running,
    Unknown,
    terms_of,
)
from domain.catalogue import Policy
from domain.errors import Refused
from domain.places import Tier, at_tier
from domain.roles import Actor, Grant, Role
from domain.sla import Limit, Unit
from tests import samples
from tests.domain.schedules import knowing

CASES: Final = ("case-1", "case-2", "case-3", "child-1", "child-2")
PATHS: Final = (samples.GRID, samples.COMMUNITY, samples.SUBDISTRICT, samples.DISTRICT)


def everybody(name: str, unit: str | None = None) -> Actor:
    roles = [role for role in Role if role is not Role.IMPORTER]
    return Actor(name, tuple(Grant(role, path) for role in roles for path in PATHS), unit)


PEOPLE: Final = (
    everybody("wang", "property"),
    everybody("li", "works"),
    everybody("zhang"),
    samples.GRID_WORKER,
)
JUMPS: Final = tuple(
    timedelta(minutes=minutes)
    for minutes in (*[1] * 20, *[300] * 5, 1440, 4000, 20_000, 45_000, 200_000, -1, -3, -90, -2000)
)
CALENDARS: Final = (knowing(2025, 2026), knowing(2025), knowing())
TIGHT: Final = Policy(
    returns_per_case=1, transfers_per_episode=1, park_cap_days=20, extensions=1, callback_attempts=1
)
TERMS: Final = (
    samples.SMALL,
    samples.terms("illegal_construction", TIGHT),
    samples.ENDLESS,
    samples.terms("consultation", TIGHT),
    samples.terms("noise", TIGHT),
)
WORKERS: Final = (None, PEOPLE[1])
UNITS: Final = (
    None,
    None,
    None,
    samples.PROPERTY,
    samples.CLEANING,
    samples.WORKS,
    samples.CLOSED_UNIT,
)
TIERS: Final = (None, None, None, None, *Tier)
LIMITS: Final = tuple(Limit(n, unit) for unit in Unit for n in (1, 3, 0, 20_000))
CHILDREN: Final = tuple(
    c.ChildReport(case=name, description="部分", required=required)
    for name, required in [("child-1", True), ("child-2", False), ("child-2", True)]
)

# One builder a command; ``n`` chooses among what its fields may hold.
Builder = Callable[[int, datetime, Calendar], dict[str, Any]]
FIELDS: Final[dict[type[Any], Builder]] = {
    c.ReportCase: lambda n, at, _: {
        "place": samples.place(PATHS[n % 7] if n % 7 < 4 else samples.GRID),
        "source": list(c.Source)[n % 5],
        "description": "说明",
        "reporter": (samples.REPORTER, None)[n % 2],
        "occurred": (None, at, at - timedelta(days=2), at + timedelta(days=2))[n % 4],
        "parent": (None, None, None, "case-2")[n % 4],
    },
    c.VerifyCase: lambda n, at, _: {},
    c.RejectCase: lambda n, at, _: {"reason": "不实"},
    c.FileCase: lambda n, at, calendar: {
        "terms": TERMS[n % 5],
        "calendar": calendar,
        "tier": TIERS[n % 8],
        "due": (None, None, at + timedelta(days=3), at - timedelta(days=3))[n % 4],
    },
    c.ReclassifyCase: lambda n, at, calendar: {
        "terms": TERMS[n % 5],
        "calendar": calendar,
        "reason": "改",
    },
    c.AskVoid: lambda n, at, _: {"reason": "误立"},
    c.ApproveVoid: lambda n, at, _: {},
    c.DispatchCase: lambda n, at, _: {"unit": UNITS[n % 7], "worker": WORKERS[n % 4 % 2]},
    c.TransferCase: lambda n, at, _: {
        "unit": UNITS[n % 7],
        "worker": WORKERS[n % 2],
        "reason": "转",
    },
    c.AcceptCase: lambda n, at, _: {},
    c.EscalateCase: lambda n, at, _: {
        "reason": list(c.EscalationReason)[n % 8],
        "to": TIERS[n % 8],
    },
    c.ReturnCase: lambda n, at, _: {"directive": "办", "to": TIERS[n % 8]},
    c.WhistleCase: lambda n, at, _: {
        "units": tuple(unit for unit in UNITS[: n % 7] if unit),
        "purpose": "会商",
        "reply_by": at + timedelta(days=n % 3),
    },
    c.ReportIn: lambda n, at, _: {"unit": ("property", "cleaning", "works")[n % 3]},
    c.MarkAbsent: lambda n, at, _: {"unit": ("property", "cleaning", "works")[n % 3]},
    c.SplitCase: lambda n, at, _: {"children": (CHILDREN[:2], CHILDREN, CHILDREN[:1])[n % 3]},
    c.MergeCase: lambda n, at, _: {"into": CASES[n % 5]},
    c.AskPark: lambda n, at, _: {
        "until": at + timedelta(days=(0, 1, 9, 30, 60)[n % 5]),
        "reason": "等",
    },
    c.ApprovePark: lambda n, at, _: {},
    c.ResumeCase: lambda n, at, calendar: {"calendar": calendar},
    c.AskExtension: lambda n, at, _: {"more": LIMITS[n % len(LIMITS)], "reason": "难"},
    c.ApproveExtension: lambda n, at, calendar: {"calendar": calendar},
    c.DeclineRequest: lambda n, at, _: {"reason": "否"},
    c.RemindDue: lambda n, at, _: {"ahead": timedelta(hours=(1, 24)[n % 2])},
    c.MarkBreach: lambda n, at, _: {},
    c.RecomputeDue: lambda n, at, calendar: {"calendar": calendar},
    c.ResolveCase: lambda n, at, _: {"evidence": (("照片",), ("照片",), ())[n % 3]},
    c.CheckCase: lambda n, at, _: {"passed": n % 3 > 0, "note": "看过"},
    c.CloseCase: lambda n, at, _: {
        "outcome": list(c.Outcome)[n % 4],
        "refused_by": (None, "城管")[n % 2],
    },
    c.RecordCallback: lambda n, at, _: {"reached": n % 2 == 0, "solved": (True, None)[n % 3 % 2]},
    c.EvaluateCase: lambda n, at, _: {"solved": True, "satisfied": n % 2 == 0},
    c.ReopenCase: lambda n, at, calendar: {"reason": "又来", "calendar": calendar},
    c.EndReopening: lambda n, at, _: {},
    c.AddNote: lambda n, at, _: {"text": ("记", " ")[n % 2]},
    c.AttachFile: lambda n, at, _: {
        "attachment": "a",
        "name": "b",
        "media_type": "image/png",
        "sha256": "0" * 64,
        "size": 1,
    },
}  # fmt: skip
FOLLOWING: Final = (c.AbsorbCase, c.NoteChildEnded, c.NoteChildReopened)
"""Never issued by themselves."""

NEXT: Final[dict[str, tuple[type[Any], ...]]] = {
    "unknown": (c.ReportCase,),
    "reported": (c.FileCase,),
    "filed": (*[c.DispatchCase] * 8, c.SplitCase, c.MergeCase, c.AskVoid, c.ApproveVoid),
    "assigned": (*[c.AcceptCase] * 6, c.EscalateCase, c.ReturnCase, c.TransferCase),
    "in_progress": (
        *[c.ResolveCase] * 6, c.AskPark, c.AskPark, c.AskExtension, c.EscalateCase,
        c.ReturnCase, c.MarkBreach, c.WhistleCase,
    ),
    "parked": (c.ResumeCase, c.ResumeCase, c.AskExtension, c.ApproveExtension, c.RecomputeDue),
    "resolved": (*[c.CheckCase] * 8, c.MergeCase, c.SplitCase),
    "checked": (*[c.CloseCase] * 8, *[c.MarkBreach] * 4, c.MergeCase, c.SplitCase),
    "closed": (c.ReopenCase, c.ReopenCase, c.EvaluateCase, c.RecordCallback),
    "evaluated": (c.ReopenCase,),
}  # fmt: skip
ANSWERS: Final[dict[Asked, tuple[type[Any], ...]]] = {
    Asked.VOID: (c.DispatchCase, c.DispatchCase, c.ApproveVoid),
    Asked.PARK: (c.ApprovePark, c.ApprovePark, c.DeclineRequest),
    Asked.EXTENSION: (c.ApproveExtension, c.ApproveExtension, c.DeclineRequest, c.ResumeCase),
}
ANY: Final = tuple(FIELDS)
HANDLERS: Final = (c.ResolveCase, c.AskPark, c.AskExtension, c.EscalateCase, c.ResumeCase)

Step = tuple[int, int, int, int, int]
STEP: Final = struct.Struct("BHBBH")
SCRIPTS: Final = st.binary(min_size=60 * STEP.size, max_size=150 * STEP.size)
"""Steps as bytes: drawn at once, they cost a tenth of what drawn numbers cost."""


def steps_of(script: bytes) -> list[Step]:
    whole = len(script) // STEP.size * STEP.size
    return list(STEP.iter_unpack(script[:whole]))


@dataclass
class World:
    """All cases with their histories."""

    now: datetime = samples.START
    calendar: Calendar = CALENDARS[0]
    states: dict[str, Case] = field(default_factory=lambda: dict.fromkeys(CASES, case.initial))
    histories: dict[str, list[e.Event]] = field(default_factory=lambda: {i: [] for i in CASES})

    def command(self, step: Step) -> c.Command:
        """What somebody tries."""
        which, kind, who, when, n = step
        name = CASES[which % len(CASES)]
        if isinstance(self.states[name], Unknown):
            name = CASES[which % 3]  # a child is born in a split
        nexts = self.natural(self.states[name])
        natural = nexts and kind % 4
        chosen = nexts[kind // 4 % len(nexts)] if natural else ANY[kind // 4 % len(ANY)]
        at = self.now + JUMPS[when % len(JUMPS)]
        if when % 50 == 0:
            self.calendar = CALENDARS[n % len(CALENDARS)]
        by, imported = self.somebody(name, chosen, who), None
        if who % 40 == 0:
            by, imported = samples.IMPORTER, samples.OLD_SYSTEM
        fields = FIELDS[chosen](n, at, self.calendar)
        if chosen is c.ReportCase and n % 9 and (own := sources(by, fields["place"].path)):
            fields["source"] = own[n % len(own)]
        command: c.Command = chosen(case=name, by=by, at=at, imported=imported, **fields)
        return command

    def natural(self, now: Case) -> tuple[type[Any], ...]:
        """What usually comes next: the answer to a request, if there is one."""
        if not isinstance(now, Unknown) and now.facts.request is not None:
            return ANSWERS[now.facts.request.what]
        return NEXT.get(now.name, ())

    def somebody(self, name: str, chosen: type[Any], who: int) -> Actor:
        """Often the one who has the case in hand, where a step is the handler's."""
        now = self.states[name]
        if chosen in HANDLERS and who % 4 and not isinstance(now, Unknown):
            for person in PEOPLE:
                if person.id == now.facts.handler:
                    return person
        return PEOPLE[who % len(PEOPLE)]

    def execute(self, command: c.Command) -> dict[str, list[e.Event]]:
        """The new events of each case, or none where any of them refuses."""
        states = dict(self.states)
        new: dict[str, list[e.Event]] = {}
        todo = [command]
        while todo:
            one = todo.pop(0)
            now = states.get(one.case, case.initial)
            try:
                events = case.decide(now, one)
            except Refused as refused:
                _ = refused.zh, refused.en  # can be said
                return {}
            todo += case.alongside(now, one)
            states[one.case] = reduce(case.evolve, events, now)
            new.setdefault(one.case, []).extend(events)
        self.now = max(self.now, command.at)
        self.states = states
        for name, events in new.items():
            self.histories[name] += events
        return new


@settings(max_examples=100)
@given(SCRIPTS)
def test_whatever_anybody_tries(script: bytes) -> None:
    world = World()
    for step in steps_of(script):
        before = dict(world.states)
        for name, events in world.execute(world.command(step)).items():
            now = world.states[name]
            assert not isinstance(now, Unknown)
            _holds(now)
            _limits_are_kept(now, world.histories[name])
            _follows(before[name], now, events, world.calendar)
            if any(isinstance(event, e.CaseClosed) for event in events):
                _nothing_required_is_open(now, world)
            _survivors_end(now, world)
    for name, history in world.histories.items():
        assert reduce(case.evolve, history, case.initial) == world.states[name]
        _once_an_episode(history)


def _holds(now: Known) -> None:
    """What is true of a case at any time."""
    facts, clock = now.facts, now.facts.clock
    assert facts.holder == at_tier(facts.place.path, facts.tier)
    assert facts.highest >= facts.tier or facts.episode == 0
    in_hand = ("in_progress", "parked", "resolved", "checked", "closed", "evaluated")
    assert (facts.handler is not None) == (now.name in in_hand) or now.name == "merged"
    assert (facts.closed_at is not None) == (now.name in ("closed", "evaluated"))
    assert (facts.survivor is not None) == (now.name == "merged")
    if clock is None:
        assert now.name in ("reported", "rejected", "merged")
        return
    expected = Running.PAUSED if now.name == "parked" else Running.RUNNING
    assert clock.running is (expected if now.name in OPEN else Running.STOPPED)
    assert all(a.end <= b.start + SKEW for a, b in pairwise(clock.pauses))
    if clock.due is not None:
        assert clock.dated is not None or clock.due >= clock.started.replace(microsecond=0)


def _limits_are_kept(now: Known, history: list[e.Event]) -> None:
    """The office's limits, but for imported history that did not keep them."""
    facts, clock = now.facts, now.facts.clock
    if clock is None or any(isinstance(event, e.RuleWaived) for event in history):
        return
    # A reclassification may bring other limits; what was done under the old ones stays.
    if any(isinstance(event, e.CaseReclassified) for event in history):
        return
    terms = terms_of(facts)
    assert facts.returns <= terms.policy.returns_per_case
    assert facts.transfers <= terms.policy.transfers_per_episode
    assert facts.callbacks <= terms.policy.callback_attempts
    assert len(clock.extensions) <= terms.sla.extensions
    assert length(clock.pauses) <= timedelta(days=terms.sla.park_cap_days) + SKEW


def _follows(before: Case, now: Known, events: list[e.Event], calendar: Calendar) -> None:
    """What a step may change."""
    if isinstance(before, Unknown):
        return
    was, facts = before.facts, now.facts
    assert facts.last_at >= was.last_at
    assert facts.episode - was.episode in (0, 1)
    assert facts.highest >= was.highest or was.episode == 0
    assert facts.filed_size == was.filed_size or was.filed_size is None
    for event in events:
        assert event.territory == facts.place.path
        if isinstance(event, e.CaseResumed):
            _gives_back_time_only(was, event, calendar)
        if isinstance(event, e.CaseResumed | e.DeadlineExtended):
            assert facts.clock is not None
            again = due_of(facts.clock, terms_of(facts), calendar)
            assert event.due == (again and again.at)


def _gives_back_time_only(was: Facts, event: e.CaseResumed, calendar: Calendar) -> None:
    clock = was.clock
    assert isinstance(clock, Clock)
    unpaused = due_of(clock, terms_of(was), calendar)
    if unpaused is None:
        assert event.due is None
        return
    assert event.due is not None
    assert event.due >= unpaused.at
    if event.parked >= unpaused.at:
        assert event.due == unpaused.at


def _nothing_required_is_open(now: Known, world: World) -> None:
    for child in now.facts.children:
        assert not child.required or world.states[child.case].name not in OPEN


def _survivors_end(now: Known, world: World) -> None:
    """The chain of survivors leads to a case that is not merged, and never back."""
    seen: set[str] = set()
    while isinstance(now, Merged):
        assert now.facts.id not in seen
        seen.add(now.facts.id)
        assert now.facts.survivor is not None
        survivor = world.states[now.facts.survivor]
        assert not isinstance(survivor, Unknown)
        assert now.facts.id in survivor.facts.duplicates
        now = survivor


def _once_an_episode(history: list[e.Event]) -> None:
    counts = Counter((type(event), event.episode) for event in history)
    for once in (
        e.DueReminded,
        e.DeadlineBreached,
        e.CaseClosed,
        e.CaseEvaluated,
        e.CaseFiled,
        e.CaseReopened,
        e.ReopeningEnded,
    ):
        assert all(n == 1 for (kind, _), n in counts.items() if kind is once)
    automatic = Counter(
        event.episode
        for event in history
        if isinstance(event, e.CaseEscalated) and event.reason is c.EscalationReason.SLA_BREACH
    )
    automatic -= Counter(  # what an old system did once more says so
        event.episode
        for event in history
        if isinstance(event, e.RuleWaived) and event.rule == "case.breach_recorded"
    )
    assert all(n == 1 for n in automatic.values())
    late = [
        event for event in history if isinstance(event, e.CaseClosed) and event.on_time is False
    ]
    assert all(counts[e.DeadlineBreached, event.episode] == 1 for event in late)
    contacts = [event for event in history if isinstance(event, e.CaseAccepted)]
    assert all(n == 1 for n in Counter(a.episode for a in contacts if a.first_contact).values())


def test_every_command_is_tried() -> None:
    assert {*FIELDS, *FOLLOWING} == set(get_args(c.Command))

"""What a case is after an event. Never refuses: what has happened, has happened."""

from typing import Any, Final, assert_never

from domain.case import events as e
from domain.case.commands import EscalationReason
from domain.case.states import (
    NOT_REPORTED,
    Asked,
    Assigned,
    Call,
    Case,
    Checked,
    Child,
    Clock,
    Closed,
    Evaluated,
    Facts,
    Filed,
    InProgress,
    Merged,
    Parked,
    Rejected,
    Reported,
    Request,
    Resolved,
    Running,
    Unknown,
    Voided,
    clock_of,
    holder_at,
)
from domain.places import TOP
from domain.sla import Pause

initial: Final[Case] = NOT_REPORTED


def evolve(case: Case, event: e.Event) -> Case:
    """The state that follows from one more event of the case's stream."""
    if isinstance(event, e.CaseReported):
        return _reported(event)
    assert not isinstance(case, Unknown), "the first event of a case is its report"
    facts = case.facts._replace(last_at=max(case.facts.last_at, event.at))
    match event:
        case e.NoteAdded() | e.FileAttached() | e.CaseVerified() | e.RuleWaived():
            return type(case)(facts)

        case e.CaseFiled():
            return Filed(_filed(facts, event))
        case e.CaseReclassified():
            clock = _with(facts, due=event.due, provisional=event.provisional)
            return type(case)(facts._replace(terms=event.terms, clock=clock))
        case e.CaseRejected():
            return Rejected(facts)
        case e.VoidAsked():
            asked = Request(what=Asked.VOID, by=event.by)
            return type(case)(facts._replace(request=asked))
        case e.CaseVoided():
            clock = _with(facts, running=Running.STOPPED)
            return Voided(facts._replace(request=None, clock=clock))

        case e.CaseDispatched():
            return Assigned(_assigned(facts, event.holder, event.unit, event.worker))
        case e.CaseTransferred():
            assigned = _assigned(facts, event.holder, event.unit, event.worker)
            return Assigned(assigned._replace(transfers=facts.transfers + 1))
        case e.CaseAccepted():
            clock = _with(facts, contacted=event.at) if event.first_contact else clock_of(facts)
            # What an earlier handler had asked for is moot.
            return InProgress(facts._replace(handler=event.handler, request=None, clock=clock))
        case e.CaseEscalated():
            moved = facts._replace(tier=event.tier, highest=max(facts.highest, event.tier))
            if event.reason is EscalationReason.SLA_BREACH:
                moved = moved._replace(clock=_with(facts, escalated=True))
            return Assigned(_assigned(moved, event.holder))
        case e.CaseReturned():
            moved = facts._replace(tier=event.tier, returns=event.returns)
            return Assigned(_assigned(moved, event.holder))

        case e.CaseWhistled():
            others = tuple(call for call in facts.calls if call[0] not in event.units)
            called = tuple((unit, Call.WAITING) for unit in event.units)
            until = tuple(until for until in facts.reply_by if until[0] not in event.units)
            until += tuple((unit, event.reply_by) for unit in event.units)
            return type(case)(facts._replace(calls=others + called, reply_by=until))
        case e.UnitReportedIn():
            return type(case)(_answered(facts, event.unit, Call.REPORTED_IN))
        case e.UnitAbsent():
            return type(case)(_answered(facts, event.unit, Call.ABSENT))
        case e.CaseSplit():
            children = tuple(Child(case=c.case, required=c.required) for c in event.children)
            return type(case)(facts._replace(children=facts.children + children))
        case e.ChildEnded():
            return type(case)(_child(facts, event.child, ended=True))
        case e.ChildReopened():
            return type(case)(_child(facts, event.child, ended=False))
        case e.CaseMerged():
            ended = None if facts.clock is None else _with(facts, running=Running.STOPPED)
            return Merged(facts._replace(survivor=event.into, request=None, clock=ended))
        case e.CaseAbsorbed():
            return type(case)(facts._replace(duplicates=(*facts.duplicates, event.duplicate)))

        case e.ParkAsked():
            asked = Request(what=Asked.PARK, by=event.by, until=event.until)
            return type(case)(facts._replace(request=asked))
        case e.CaseParked():
            clock = _with(
                facts,
                running=Running.PAUSED,
                paused_since=event.at,
                paused_until=event.until,
            )
            return Parked(facts._replace(request=None, clock=clock))
        case e.CaseResumed():
            clock = _with(
                facts,
                running=Running.RUNNING,
                paused_since=None,
                paused_until=None,
                pauses=(*clock_of(facts).pauses, Pause(event.parked, event.counted_to)),
                due=event.due,
                provisional=event.provisional,
            )
            return InProgress(facts._replace(clock=clock))
        case e.ExtensionAsked():
            asked = Request(what=Asked.EXTENSION, by=event.by, more=event.more)
            return type(case)(facts._replace(request=asked))
        case e.DeadlineExtended():
            clock = _with(
                facts,
                extensions=(*clock_of(facts).extensions, event.more),
                due=event.due,
                provisional=event.provisional,
            )
            return type(case)(facts._replace(request=None, clock=clock))
        case e.RequestDeclined():
            return type(case)(facts._replace(request=None))
        case e.DueReminded():
            return type(case)(facts._replace(clock=_with(facts, reminded=True)))
        case e.DeadlineBreached():
            escalated = clock_of(facts).escalated or event.tier is TOP
            clock = _with(facts, breached=True, escalated=escalated)
            return type(case)(facts._replace(clock=clock))
        case e.DueRecomputed():
            clock = _with(facts, due=event.due, provisional=event.provisional)
            return type(case)(facts._replace(clock=clock))
        case e.ContactDueReckoned(contact_due=contact_due, provisional=provisional):
            clock = _with(facts, contact_due=contact_due, contact_provisional=provisional)
            return type(case)(facts._replace(clock=clock))

        case e.CaseResolved():
            return Resolved(facts._replace(handler=event.handler, request=None))
        case e.CheckPassed():
            return Checked(facts)
        case e.CheckFailed():
            return InProgress(facts)
        case e.CaseClosed():
            return Closed(_closed(facts, event))
        case e.CallbackMade():
            return type(case)(facts._replace(callbacks=event.attempt))
        case e.CaseEvaluated():
            return Evaluated(facts)
        case e.CaseReopened():
            return Assigned(_reopened(facts, event))
        case e.ReopeningEnded():
            return type(case)(facts._replace(reopening_ended=True))

        case _:
            assert_never(event)


def _reported(event: e.CaseReported) -> Reported:
    return Reported(
        Facts(
            id=event.case,
            place=event.place,
            source=event.source,
            intake=event.intake,
            reporter=None if event.reporter is None else event.reporter.person,
            reported_at=event.at,
            last_at=event.at,
            parent=event.parent,
            tier=event.tier,
            highest=event.tier,
            holder=holder_at(event.territory, event.tier),
        )
    )


def _filed(facts: Facts, event: e.CaseFiled) -> Facts:
    clock = Clock(
        running=Running.RUNNING,
        started=event.at,
        due=event.due,
        provisional=event.provisional,
        dated=event.due if event.dated else None,
        contact_due=event.contact_due,
    )
    return facts._replace(
        episode=event.episode,
        tier=event.tier,
        highest=event.tier,
        holder=event.holder,
        terms=event.terms,
        filed_size=event.terms.size,
        filed_at=event.at,
        clock=clock,
    )


def _assigned(
    facts: Facts, holder: str, unit: str | None = None, worker: str | None = None
) -> Facts:
    """A new assignee, who has yet to accept; what the old one had asked for is moot."""
    return facts._replace(holder=holder, unit=unit, worker=worker, handler=None, request=None)


def _answered(facts: Facts, unit: str, answer: Call) -> Facts:
    calls = tuple((u, answer if u == unit else call) for u, call in facts.calls)
    return facts._replace(calls=calls)


def _child(facts: Facts, child: str, *, ended: bool) -> Facts:
    children = tuple(
        known._replace(ended=ended) if known.case == child else known for known in facts.children
    )
    return facts._replace(children=children)


def _closed(facts: Facts, event: e.CaseClosed) -> Facts:
    return facts._replace(
        clock=_with(facts, running=Running.STOPPED),
        outcome=event.outcome,
        closed_at=event.at,
        callbacks=0,
    )


def _reopened(facts: Facts, event: e.CaseReopened) -> Facts:
    clock = Clock(
        running=Running.RUNNING,
        started=event.at,
        due=event.due,
        provisional=event.provisional,
        dated=None,
        contact_due=event.contact_due,
    )
    assigned = _assigned(facts, event.holder)
    return assigned._replace(
        episode=event.episode,
        transfers=0,
        clock=clock,
        outcome=None,
        closed_at=None,
        reopening_ended=False,
    )


def _with(facts: Facts, **changes: Any) -> Clock:
    return clock_of(facts)._replace(**changes)

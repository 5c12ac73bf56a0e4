"""What happens next. Each allowed transition is one arm; all else is refused.

``decide`` guards, ``evolve`` never does: a rule that is tightened later must not break old history.
"""

from typing import Any

from domain.calendar import Reckoned, told_time
from domain.case import commands as c
from domain.case import events as e
from domain.case.clock import (
    deadlines,
    due_fields,
    due_of,
    goes_up,
    length,
    reminder_at,
    reopening_until,
)
from domain.case.guards import (
    DAY,
    demand_assignee,
    demand_awaited,
    demand_called,
    demand_child,
    demand_children_ended,
    demand_competent,
    demand_handler,
    demand_import,
    demand_joined,
    demand_later,
    demand_no_request,
    demand_order,
    demand_own_case,
    demand_own_report,
    demand_request,
    demand_source,
    demand_text,
    demand_unit,
    only_as,
    soft,
    soft_able_worker,
    soft_callback_window,
    soft_open,
    soft_other_caller,
    soft_second_person,
    soft_state,
    stamp,
)
from domain.case.states import (
    Asked,
    Assigned,
    Call,
    Case,
    Checked,
    Closed,
    Evaluated,
    Facts,
    Filed,
    InProgress,
    Parked,
    Reported,
    Resolved,
    Unknown,
    clock_of,
    holder_at,
    terms_of,
)
from domain.catalogue import Size, Terms
from domain.errors import Refused
from domain.places import TOP, Tier, tier_of
from domain.roles import Role, demand
from domain.sla import Pause


def decide(case: Case, command: c.Command) -> list[e.Event]:
    """The events that follow from a command, or a refusal.

    Raises:
        Refused: ``role.not_permitted``, or a ``case.*`` code that names the rule.
    """
    if isinstance(case, Unknown):
        if isinstance(command, c.ReportCase):
            return _report(command)
        raise Refused("case.unknown", case=command.case)
    if isinstance(command, c.ReportCase):
        raise Refused("case.exists", case=command.case)
    facts = case.facts
    demand(command, facts.place.path, facts.holder)
    demand_import(command, facts.place.path)
    demand_order(facts, command)
    match case, command:
        # at any time
        case _, c.AddNote():
            return soft_open(case, command) + _note(facts, command)
        case _, c.AttachFile():
            return soft_open(case, command) + _attach(facts, command)

        # it comes in
        case Reported(), c.VerifyCase():
            return [e.CaseVerified(**stamp(facts, command), note=command.note)]
        case Reported(), c.RejectCase():
            demand_text(command.reason, "reason")
            return [e.CaseRejected(**stamp(facts, command), reason=command.reason)]
        case Reported(), c.FileCase():
            return _file(facts, command)
        case Filed() | Assigned() | InProgress(), c.ReclassifyCase():
            return _reclassify(facts, command)
        case Filed(), c.AskVoid():
            return _ask_void(facts, command)
        case Filed(), c.ApproveVoid():
            return _void(facts, command)

        # it is worked on
        case Filed() | Assigned(), c.DispatchCase():
            return _dispatch(facts, command)
        case Assigned(), c.TransferCase():
            return _transfer(facts, command)
        case InProgress(), c.TransferCase(imported=c.Imported()):
            return soft_state(False, case, command) + _transfer(facts, command)
        case Assigned(), c.AcceptCase():
            demand_assignee(facts, command)
            return _accept(facts, command)
        case InProgress(), c.AcceptCase():
            return _take_over(facts, command)
        case Assigned() | InProgress(), c.EscalateCase():
            return _escalate(facts, command)
        case Assigned() | InProgress(), c.ReturnCase():
            return _return(facts, command)
        case Resolved(), c.EscalateCase(imported=c.Imported()):
            return soft_state(False, case, command) + _escalate(facts, command)
        case Resolved(), c.ReturnCase(imported=c.Imported()):
            return soft_state(False, case, command) + _return(facts, command)

        # others join in, as long as it is open
        case (
            Filed() | Assigned() | InProgress() | Parked() | Resolved() | Checked(),
            c.WhistleCase(),
        ):
            return _whistle(facts, command)
        case Filed() | Assigned() | InProgress() | Parked() | Resolved() | Checked(), c.ReportIn():
            return _report_in(facts, command)
        case (
            Filed() | Assigned() | InProgress() | Parked() | Resolved() | Checked(),
            c.MarkAbsent(),
        ):
            return _mark_absent(facts, command)
        case Filed() | Assigned() | InProgress() | Parked() | Resolved() | Checked(), c.SplitCase():
            return _split(facts, command)
        case (
            Reported() | Filed() | Assigned() | InProgress() | Parked() | Resolved() | Checked(),
            c.MergeCase(),
        ):
            return _merge(facts, command)
        case (
            Reported() | Filed() | Assigned() | InProgress() | Parked() | Resolved() | Checked(),
            c.AbsorbCase(),
        ):
            return [e.CaseAbsorbed(**stamp(facts, command), duplicate=command.duplicate)]
        case _, c.NoteChildEnded():
            demand_child(facts, command.child)
            demand_awaited(case, command)
            return [e.ChildEnded(**stamp(facts, command), child=command.child)]
        case _, c.NoteChildReopened():
            demand_child(facts, command.child)
            return [e.ChildReopened(**stamp(facts, command), child=command.child)]

        # its clock
        case InProgress(), c.AskPark():
            return _ask_park(facts, command)
        case InProgress(), c.ApprovePark():
            return _park(facts, command)
        case Parked(), c.ResumeCase():
            return _resume(facts, command)
        case InProgress() | Parked(), c.AskExtension():
            return _ask_extension(facts, command)
        case InProgress() | Parked(), c.ApproveExtension():
            return _extend(facts, command)
        case Filed() | InProgress() | Parked(), c.DeclineRequest():
            return _decline(facts, command)
        case Filed() | Assigned() | InProgress() | Resolved() | Checked(), c.RemindDue():
            return _remind(facts, command)
        case Filed() | Assigned() | InProgress() | Resolved() | Checked(), c.MarkBreach():
            return _breach(case, command)
        case (
            Filed() | Assigned() | InProgress() | Parked() | Resolved() | Checked(),
            c.RecomputeDue(),
        ):
            return _recompute(facts, command)

        # it ends
        case InProgress(), c.ResolveCase():
            return _resolve(facts, command)
        case Resolved(), c.CheckCase():
            return _check(facts, command)
        case Checked(), c.CloseCase():
            return _close(facts, command)
        case Closed(), c.RecordCallback():
            return _callback(facts, command)
        case Closed(), c.EvaluateCase():
            return _evaluate(facts, command)
        case Closed() | Evaluated(), c.ReopenCase():
            return _reopen(facts, command)
        case Closed() | Evaluated(), c.EndReopening():
            return _end_reopening(facts, command)
        case _:
            raise Refused("case.not_allowed", command=type(command).__name__, state=case.name)


def alongside(case: Case, command: c.Command) -> list[c.Command]:
    """The commands to other cases that must be stored together with this one, or none of them.

    ``case`` is the state before the command. A merge tells the survivor, a split reports the
    children, and the end or reopening of a child tells its parent. Two of them may concern the same
    case: they follow one another.
    """
    if isinstance(case, Unknown):
        return []
    facts = case.facts
    common: dict[str, Any] = {
        "by": command.by,
        "at": command.at,
        "imported": command.imported,
    }
    others: list[c.Command] = []
    match command:
        case c.MergeCase():
            others.append(c.AbsorbCase(case=command.into, duplicate=facts.id, **common))
        case c.SplitCase():
            others += [_child_of(facts, child, common) for child in command.children]
        case _:
            pass
    if facts.parent is None:
        return others
    match command:
        case c.RejectCase() | c.ApproveVoid() | c.MergeCase() | c.CloseCase():
            into = command.into if isinstance(command, c.MergeCase) else None
            ended = c.NoteChildEnded(case=facts.parent, child=facts.id, into=into, **common)
            others.append(ended)
        case c.ReopenCase():
            others.append(c.NoteChildReopened(case=facts.parent, child=facts.id, **common))
        case _:
            pass
    return others


def _child_of(facts: Facts, child: c.ChildReport, common: dict[str, Any]) -> c.ReportCase:
    return c.ReportCase(
        case=child.case,
        place=facts.place,
        source=facts.source,
        description=child.description,
        parent=facts.id,
        **common,
    )


# --- it comes in ------------------------------------------------------------------------------


def _report(command: c.ReportCase) -> list[e.Event]:
    demand(command, command.place.path)
    demand_import(command, command.place.path)
    demand_source(command)
    demand_text(command.description, "description")
    occurred = command.occurred or command.at
    if occurred > command.at:
        raise Refused("case.in_future", field="occurred")
    tier = max(command.source.intake, tier_of(command.place.path))
    return [
        e.CaseReported(
            at=command.at,
            territory=command.place.path,
            tier=tier,
            episode=0,
            case=command.case,
            place=command.place,
            source=command.source,
            intake=tier,
            description=command.description,
            spot=command.spot,
            reporter=command.reporter,
            occurred=occurred,
            parent=command.parent,
        )
    ]


def _file(facts: Facts, command: c.FileCase) -> list[e.Event]:
    terms = command.terms
    if terms.size is not Size.SMALL and only_as(facts, command, Role.GRID_WORKER):
        raise Refused("case.only_small")
    if command.due is not None and command.imported is None:
        raise Refused("case.import_only")
    if command.due is not None and command.due < command.at:
        raise Refused("case.due_before_filing")
    tier = max(command.tier or terms.start_tier, tier_of(facts.place.path))
    due, contact = deadlines(terms, command.calendar, command.at)
    dated = {"due": command.due, "provisional": False}
    stamped = stamp(facts, command) | {"tier": tier, "episode": 1}
    return [
        e.CaseFiled(
            **stamped,
            **(due_fields(due) if command.due is None else dated),
            terms=terms,
            source=facts.source,
            intake=facts.intake,
            holder=holder_at(facts.place.path, tier),
            dated=command.due is not None,
            contact_due=None if contact is None else contact.at,
        ),
        *_provisional_contact(stamped, contact),
    ]


def _provisional_contact(stamped: dict[str, Any], contact: Reckoned | None) -> list[e.Event]:
    """That the first-contact due of an episode that begins is not certain yet, if so."""
    if contact is None or not contact.provisional:
        return []
    return [e.ContactDueReckoned(**stamped, contact_due=contact.at, provisional=True)]


def _contact(
    facts: Facts, command: c.ReclassifyCase | c.RecomputeDue, terms: Terms
) -> list[e.Event]:
    """The first-contact due of the episode, if it is another now and nobody has been in touch."""
    clock = clock_of(facts)
    _, contact = deadlines(terms, command.calendar, clock.started)
    due, provisional = (None, False) if contact is None else (contact.at, contact.provisional)
    known = (clock.contact_due, clock.contact_provisional)
    if clock.contacted is not None or (due, provisional) == known:
        return []
    stamped = stamp(facts, command)
    return [e.ContactDueReckoned(**stamped, contact_due=due, provisional=provisional)]


def _reclassify(facts: Facts, command: c.ReclassifyCase) -> list[e.Event]:
    demand_text(command.reason, "reason")
    was = terms_of(facts).category
    if was == command.terms.category:
        raise Refused("case.same_category", category=was)
    return [
        e.CaseReclassified(
            **stamp(facts, command),
            **due_fields(due_of(clock_of(facts), command.terms, command.calendar)),
            terms=command.terms,
            was=was,
            reason=command.reason,
        ),
        *_contact(facts, command, command.terms),
    ]


def _ask_void(facts: Facts, command: c.AskVoid) -> list[e.Event]:
    demand_text(command.reason, "reason")
    demand_no_request(facts)
    return [e.VoidAsked(**stamp(facts, command), by=command.by.id, reason=command.reason)]


def _void(facts: Facts, command: c.ApproveVoid) -> list[e.Event]:
    asked = demand_request(facts, Asked.VOID)
    demand_children_ended(facts, required_only=False)
    return [
        *soft_second_person(facts, command, asked),
        e.CaseVoided(**stamp(facts, command), asked_by=asked.by, reason=""),
    ]


# --- it is worked on --------------------------------------------------------------------------


def _dispatch(facts: Facts, command: c.DispatchCase) -> list[e.Event]:
    demand_competent(facts, command.unit)
    # Else the limit of transfers could be gone round by dispatching again.
    nobody_yet = facts.unit is None and facts.worker is None
    return [
        *soft(nobody_yet, facts, command, "case.already_dispatched"),
        *soft_able_worker(facts, command),
        e.CaseDispatched(
            **stamp(facts, command),
            holder=facts.holder,
            unit=None if command.unit is None else command.unit.id,
            worker=None if command.worker is None else command.worker.id,
        ),
    ]


def _transfer(facts: Facts, command: c.TransferCase) -> list[e.Event]:
    demand_text(command.reason, "reason")
    demand_competent(facts, command.unit)
    limit = terms_of(facts).policy.transfers_per_episode
    return [
        *soft(facts.transfers < limit, facts, command, "case.transfer_limit", limit=limit),
        *soft_able_worker(facts, command),
        e.CaseTransferred(
            **stamp(facts, command),
            holder=facts.holder,
            unit=None if command.unit is None else command.unit.id,
            worker=None if command.worker is None else command.worker.id,
            reason=command.reason,
        ),
    ]


def _accept(facts: Facts, command: c.AcceptCase) -> list[e.Event]:
    clock = clock_of(facts)
    return [
        e.CaseAccepted(
            **stamp(facts, command),
            handler=command.by.id,
            first_contact=clock.contacted is None,
            contact_due=clock.contact_due,
        )
    ]


def _take_over(facts: Facts, command: c.AcceptCase) -> list[e.Event]:
    if facts.handler == command.by.id:
        raise Refused("case.already_yours")
    demand_unit(facts, command)
    return _accept(facts, command)


def _escalate(facts: Facts, command: c.EscalateCase) -> list[e.Event]:
    demand_own_case(facts, command)
    by_breach = command.reason is c.EscalationReason.SLA_BREACH
    if by_breach and command.imported is None:
        raise Refused("case.automatic_reason")
    if facts.tier is TOP:
        raise Refused("case.top_tier")
    above = Tier(facts.tier + 1)
    to = command.to or above
    if to < above:
        raise Refused("case.not_up")
    return [
        *soft(to is above, facts, command, "case.tier_step"),
        *soft(
            not by_breach or not clock_of(facts).escalated, facts, command, "case.breach_recorded"
        ),
        _moved_up(facts, command, to, command.reason, command.note),
    ]


def _moved_up(
    facts: Facts, command: c.Command, to: Tier, reason: c.EscalationReason, note: str = ""
) -> e.CaseEscalated:
    return e.CaseEscalated(
        **(stamp(facts, command) | {"tier": to}),
        from_tier=facts.tier,
        from_holder=facts.holder,
        holder=holder_at(facts.place.path, to),
        reason=reason,
        note=note,
    )


def _return(facts: Facts, command: c.ReturnCase) -> list[e.Event]:
    demand_own_case(facts, command)
    demand_text(command.directive, "directive")
    bottom = tier_of(facts.place.path)
    if facts.tier <= bottom:
        raise Refused("case.bottom_tier")
    below = Tier(facts.tier - 1)
    to = command.to or below
    if to > below:
        raise Refused("case.not_down")
    if to < bottom:
        raise Refused("case.bottom_tier")
    limit = terms_of(facts).policy.returns_per_case
    return [
        *soft(to is below, facts, command, "case.tier_step"),
        *soft(facts.returns < limit, facts, command, "case.return_limit", limit=limit),
        e.CaseReturned(
            **(stamp(facts, command) | {"tier": to}),
            from_tier=facts.tier,
            from_holder=facts.holder,
            holder=holder_at(facts.place.path, to),
            directive=command.directive,
            returns=facts.returns + 1,
        ),
    ]


# --- others join in ---------------------------------------------------------------------------


def _whistle(facts: Facts, command: c.WhistleCase) -> list[e.Event]:
    demand_text(command.purpose, "purpose")
    demand_later(command.reply_by, command, "reply_by")
    if not command.units:
        raise Refused("case.nobody_called")
    called = tuple(unit.id for unit in command.units)
    for unit in command.units:
        if unit.closed:
            raise Refused("staff.unit_closed", unit=unit.id)
        if (unit.id, Call.WAITING) in facts.calls or called.count(unit.id) > 1:
            raise Refused("case.already_called", unit=unit.id)
    return [
        e.CaseWhistled(
            **stamp(facts, command),
            units=called,
            purpose=command.purpose,
            reply_by=command.reply_by,
        )
    ]


def _report_in(facts: Facts, command: c.ReportIn) -> list[e.Event]:
    if command.by.unit != command.unit and only_as(facts, command, Role.HANDLER):
        raise Refused("case.not_your_unit", unit=command.unit)
    demand_called(facts, command.unit)
    return [e.UnitReportedIn(**stamp(facts, command), unit=command.unit)]


def _mark_absent(facts: Facts, command: c.MarkAbsent) -> list[e.Event]:
    demand_called(facts, command.unit)
    until = dict(facts.reply_by)[command.unit]
    return [
        *soft(command.at >= until, facts, command, "case.too_early", at=told_time(until)),
        e.UnitAbsent(**stamp(facts, command), unit=command.unit),
    ]


def _split(facts: Facts, command: c.SplitCase) -> list[e.Event]:
    if facts.parent is not None:
        raise Refused("case.child_cannot_split")
    children = [child.case for child in command.children]
    taken = {facts.id, *(known.case for known in facts.children)}
    if len(children) < 2 or len(taken.union(children)) < len(taken) + len(children):
        raise Refused("case.split_in_two")
    return [
        e.CaseSplit(
            **stamp(facts, command),
            children=tuple(
                e.ChildPlanned(case=child.case, required=child.required)
                for child in command.children
            ),
        )
    ]


def _merge(facts: Facts, command: c.MergeCase) -> list[e.Event]:
    # A survivor must be open to absorb, and a merged case never is again: no chain leads back.
    if command.into == facts.id:
        raise Refused("case.into_itself")
    demand_children_ended(facts, required_only=False)
    return [e.CaseMerged(**stamp(facts, command), into=command.into)]


# --- its clock --------------------------------------------------------------------------------


def _ask_park(facts: Facts, command: c.AskPark) -> list[e.Event]:
    demand_text(command.reason, "reason")
    demand_handler(facts, command)
    demand_no_request(facts)
    if command.until <= command.at:
        raise Refused("case.park_in_past")
    days = terms_of(facts).sla.park_cap_days
    parked = length((*clock_of(facts).pauses, Pause(command.at, command.until)))
    return [
        *soft(parked / DAY <= days, facts, command, "case.park_cap", days=days),
        e.ParkAsked(
            **stamp(facts, command),
            by=command.by.id,
            until=command.until,
            reason=command.reason,
        ),
    ]


def _park(facts: Facts, command: c.ApprovePark) -> list[e.Event]:
    asked = demand_request(facts, Asked.PARK)
    assert asked.until is not None
    if asked.until <= command.at:
        raise Refused("case.park_in_past")
    return [
        *soft_second_person(facts, command, asked),
        e.CaseParked(
            **stamp(facts, command),
            asked_by=asked.by,
            until=asked.until,
            reason="",
        ),
    ]


def _resume(facts: Facts, command: c.ResumeCase) -> list[e.Event]:
    demand_own_case(facts, command)
    clock = clock_of(facts)
    assert clock.paused_since is not None
    assert clock.paused_until is not None
    if only_as(facts, command, Role.SYSTEM) and command.at < clock.paused_until:
        raise Refused("case.too_early", at=told_time(clock.paused_until))
    # A forgotten resume buys no time: the pause ends at its dated end at the latest.
    counted_to = max(clock.paused_since, min(command.at, clock.paused_until))
    pause = Pause(clock.paused_since, counted_to)
    return [
        e.CaseResumed(
            **stamp(facts, command),
            **due_fields(due_of(clock, terms_of(facts), command.calendar, pause=pause)),
            parked=pause.start,
            counted_to=pause.end,
        )
    ]


def _ask_extension(facts: Facts, command: c.AskExtension) -> list[e.Event]:
    demand_text(command.reason, "reason")
    demand_handler(facts, command)
    demand_no_request(facts)
    if clock_of(facts).due is None:
        raise Refused("case.no_deadline")
    if not command.more.is_sensible:
        raise Refused("case.bad_extension")
    limit, so_far = terms_of(facts).sla.extensions, len(clock_of(facts).extensions)
    return [
        *soft(so_far < limit, facts, command, "case.extension_limit", limit=limit),
        e.ExtensionAsked(
            **stamp(facts, command), by=command.by.id, more=command.more, reason=command.reason
        ),
    ]


def _extend(facts: Facts, command: c.ApproveExtension) -> list[e.Event]:
    asked = demand_request(facts, Asked.EXTENSION)
    assert asked.more is not None
    due = due_of(clock_of(facts), terms_of(facts), command.calendar, more=asked.more)
    if due is None:  # reclassified since it was asked
        raise Refused("case.no_deadline")
    return [
        *soft_second_person(facts, command, asked),
        e.DeadlineExtended(
            **stamp(facts, command),
            **due_fields(due),
            asked_by=asked.by,
            more=asked.more,
            reason="",
        ),
    ]


def _decline(facts: Facts, command: c.DeclineRequest) -> list[e.Event]:
    demand_text(command.reason, "reason")
    if facts.request is None:
        raise Refused("case.nothing_asked")
    if facts.request.what is not Asked.VOID and only_as(facts, command, Role.SUPERVISOR):
        raise Refused("role.not_permitted", command=type(command).__name__)
    asked_by = facts.request.by
    return [e.RequestDeclined(**stamp(facts, command), asked_by=asked_by, reason=command.reason)]


def _remind(facts: Facts, command: c.RemindDue) -> list[e.Event]:
    clock = clock_of(facts)
    if clock.due is None:
        raise Refused("case.no_deadline")
    if clock.reminded:
        raise Refused("case.reminded")
    if clock.breached or command.at > clock.due:
        raise Refused("case.due_passed")
    at = reminder_at(clock.started, clock.due, command.ahead)
    if command.at < at:
        raise Refused("case.too_early", at=told_time(at))
    return [
        e.DueReminded(
            **stamp(facts, command),
            due=clock.due,
            holder=facts.holder,
            unit=facts.unit,
            worker=facts.worker,
            handler=facts.handler,
        )
    ]


def _breach(
    case: Filed | Assigned | InProgress | Resolved | Checked, command: c.MarkBreach
) -> list[e.Event]:
    facts = case.facts
    clock = clock_of(facts)
    if clock.due is None:
        raise Refused("case.no_deadline")
    if clock.breached and not goes_up(case):
        raise Refused("case.breach_recorded")
    if command.at <= clock.due:
        raise Refused("case.not_due")
    events: list[e.Event] = []
    if not clock.breached:
        events.append(e.DeadlineBreached(**stamp(facts, command), due=clock.due))
    if goes_up(case):
        above, reason = Tier(facts.tier + 1), c.EscalationReason.SLA_BREACH
        events.append(_moved_up(facts, command, above, reason))
    return events


def _recompute(facts: Facts, command: c.RecomputeDue) -> list[e.Event]:
    clock = clock_of(facts)
    due = due_of(clock, terms_of(facts), command.calendar)
    contact = _contact(facts, command, terms_of(facts))
    if due is None or (due.at, due.provisional) == (clock.due, clock.provisional):
        return contact
    return [e.DueRecomputed(**stamp(facts, command), **due_fields(due)), *contact]


# --- it ends ----------------------------------------------------------------------------------


def _resolve(facts: Facts, command: c.ResolveCase) -> list[e.Event]:
    demand_handler(facts, command)
    shown = any(piece.strip() for piece in command.evidence)
    return [
        *soft(shown, facts, command, "case.no_evidence"),
        e.CaseResolved(
            **stamp(facts, command),
            handler=command.by.id,
            evidence=command.evidence,
            note=command.note,
        ),
    ]


def _check(facts: Facts, command: c.CheckCase) -> list[e.Event]:
    assert facts.handler is not None, "somebody has resolved it"
    waived = soft(command.by.id != facts.handler, facts, command, "case.checker_is_handler")
    if command.passed:
        return [*waived, e.CheckPassed(**stamp(facts, command), note=command.note)]
    demand_text(command.note, "note")
    failed = e.CheckFailed(**stamp(facts, command), handler=facts.handler, note=command.note)
    return [*waived, failed]


def _close(facts: Facts, command: c.CloseCase) -> list[e.Event]:
    demand_children_ended(facts, required_only=True)
    if command.outcome is c.Outcome.NOT_OURS and not (command.refused_by or "").strip():
        raise Refused("case.refuser_unnamed")
    terms, clock = terms_of(facts), clock_of(facts)
    assert facts.filed_size is not None
    on_time = None if clock.due is None else command.at <= clock.due
    events: list[e.Event] = []
    if clock.due is not None and not on_time and not clock.breached:
        # The deadline process was not here in time: the breach is recorded all the same.
        events.append(e.DeadlineBreached(**stamp(facts, command), due=clock.due))
    return [
        *events,
        e.CaseClosed(
            **stamp(facts, command),
            outcome=command.outcome,
            refused_by=command.refused_by,
            category=terms.category,
            filed_size=facts.filed_size,
            intake=facts.intake,
            highest=facts.highest,
            mandated_up=terms.mandated_up,
            due=clock.due,
            on_time=on_time,
        ),
    ]


def _callback(facts: Facts, command: c.RecordCallback) -> list[e.Event]:
    if command.reached is (command.solved is None):
        raise Refused("case.callback_answer")
    limit = terms_of(facts).policy.callback_attempts
    return [
        *soft_other_caller(facts, command),
        *soft_callback_window(facts, command),
        *soft(facts.callbacks < limit, facts, command, "case.callback_limit", limit=limit),
        e.CallbackMade(
            **stamp(facts, command),
            attempt=facts.callbacks + 1,
            reached=command.reached,
            solved=command.solved,
        ),
    ]


def _evaluate(facts: Facts, command: c.EvaluateCase) -> list[e.Event]:
    demand_own_report(facts, command)
    return [
        *soft_other_caller(facts, command),
        *soft_callback_window(facts, command),
        e.CaseEvaluated(
            **stamp(facts, command),
            solved=command.solved,
            satisfied=command.satisfied,
            comment=command.comment,
        ),
    ]


def _reopen(facts: Facts, command: c.ReopenCase) -> list[e.Event]:
    demand_text(command.reason, "reason")
    demand_own_report(facts, command)
    assert facts.closed_at is not None
    days = terms_of(facts).policy.reopen_window_days
    # What was said to be over is over, also if a clock was set back since.
    in_time = not facts.reopening_ended and command.at <= reopening_until(facts)
    due, contact = deadlines(terms_of(facts), command.calendar, command.at)
    stamped = stamp(facts, command) | {"episode": facts.episode + 1}
    return [
        *soft(in_time, facts, command, "case.reopen_window", days=days),
        e.CaseReopened(
            **stamped,
            **due_fields(due),
            reason=command.reason,
            holder=facts.holder,
            closed_at=facts.closed_at,
            contact_due=None if contact is None else contact.at,
        ),
        *_provisional_contact(stamped, contact),
    ]


def _end_reopening(facts: Facts, command: c.EndReopening) -> list[e.Event]:
    assert facts.closed_at is not None
    if facts.reopening_ended:
        raise Refused("case.reopening_ended")
    until = reopening_until(facts)
    if command.at <= until:
        raise Refused("case.too_early", at=told_time(until))
    return [e.ReopeningEnded(**stamp(facts, command), closed_at=facts.closed_at)]


# --- at any time ------------------------------------------------------------------------------


def _note(facts: Facts, command: c.AddNote) -> list[e.Event]:
    demand_joined(facts, command)
    demand_own_report(facts, command)
    demand_text(command.text, "text")
    return [e.NoteAdded(**stamp(facts, command), text=command.text)]


def _attach(facts: Facts, command: c.AttachFile) -> list[e.Event]:
    demand_joined(facts, command)
    demand_own_report(facts, command)
    return [
        e.FileAttached(
            **stamp(facts, command),
            attachment=command.attachment,
            name=command.name,
            media_type=command.media_type,
            sha256=command.sha256,
            size=command.size,
        )
    ]

"""What somebody can do with a case now, and what not, and why not.

No second set of rules: each command is tried on ``decide`` with well-formed samples of its fields,
as somebody would fill them in who knows the rules. What ``decide`` then refuses, it refuses for the
case, the person or the time, and not for what was typed.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias

from domain.calendar import Calendar
from domain.case import commands as c
from domain.case.decide import decide
from domain.case.states import Call, Facts, Known
from domain.catalogue import Catalogue
from domain.errors import Refused
from domain.roles import Actor, permitted
from domain.sla import Limit, Unit
from domain.staff import Staff

_WORDS: Final = "-"
_SOME: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forms:
    """What the fields of a command are filled in from."""

    catalogue: Catalogue
    calendar: Calendar
    staff: Staff


_Fields: TypeAlias = Iterator[dict[str, Any]]
_Samples: TypeAlias = Callable[[Facts, Actor, datetime, Forms], _Fields]


def options(case: Known, by: Actor, at: datetime, forms: Forms) -> dict[str, Refused | None]:
    """By the name of each command that people give: None where it is possible, else the refusal.

    ``role.not_permitted`` says that it is never this person's to give here; every other code, that
    it cannot be given now.
    """
    return {
        command.__name__: _tried(case, by, at, forms, command, samples)
        for command, samples in _SAMPLES.items()
    }


def possible(answers: Mapping[str, Refused | None]) -> list[str]:
    """The commands that can be given now."""
    return [name for name, refused in answers.items() if refused is None]


def not_now(answers: Mapping[str, Refused | None]) -> dict[str, Refused]:
    """What the person's roles let the person do, but not as the case stands."""
    return {
        name: refused
        for name, refused in answers.items()
        if refused is not None and refused.code != "role.not_permitted"
    }


def _tried(
    case: Known, by: Actor, at: datetime, forms: Forms, command: type[Any], samples: _Samples
) -> Refused | None:
    """None if a sample is accepted; else why the last one was not."""
    facts, no = case.facts, Refused("role.not_permitted", command=command.__name__)
    if not permitted(by, command.__name__, facts.place.path, facts.holder):
        return no  # as ``decide`` says first, whatever is filled in
    tried = samples(facts, by, at, forms)
    try:
        for fields in tried:
            try:
                decide(case, command(case=facts.id, by=by, at=at, **fields))
            except Refused as refused:
                no = refused
            else:
                return None
    except Refused as refused:  # there is nothing to fill it in with
        return refused
    return no


def _with(**fields: Any) -> _Samples:
    """One sample that is the same for every case."""
    return lambda _facts, _by, _at, _forms: iter((fields,))


def _reckoned(**fields: Any) -> _Samples:
    """One sample with the working calendar."""
    return lambda _facts, _by, _at, forms: iter(({**fields, "calendar": forms.calendar},))


def _classes(facts: Facts, forms: Forms) -> Iterator[dict[str, Any]]:
    """One category of each size, and not the one that the case is of."""
    known = facts.terms and facts.terms.category
    sizes: dict[Any, str] = {}
    for each in forms.catalogue.categories.values():
        if each.active and each.code != known:
            sizes.setdefault(each.size, each.code)
    # Without any category there is nothing to choose from: say so, as filing itself would.
    for code in sizes.values() or (known or "",):
        yield {"terms": forms.catalogue.terms(code), "calendar": forms.calendar}


def _filing(facts: Facts, _by: Actor, _at: datetime, forms: Forms) -> _Fields:
    yield from _classes(facts, forms)


def _reclassifying(facts: Facts, _by: Actor, _at: datetime, forms: Forms) -> _Fields:
    for fields in _classes(facts, forms):
        yield {**fields, "reason": _WORDS}


def _whistling(facts: Facts, _by: Actor, at: datetime, forms: Forms) -> _Fields:
    free = [
        unit
        for unit in forms.staff.units.values()
        if not unit.closed and (unit.id, Call.WAITING) not in facts.calls
    ]
    yield {"units": tuple(free[:1]), "purpose": _WORDS, "reply_by": at + _SOME}


def _reporting_in(facts: Facts, by: Actor, _at: datetime, _forms: Forms) -> _Fields:
    """The units that were called; the person's own says best why not."""
    for unit in [*waiting(facts), by.unit or _WORDS]:
        yield {"unit": unit}


def _marking_absent(facts: Facts, _by: Actor, _at: datetime, _forms: Forms) -> _Fields:
    for unit in waiting(facts) or [_WORDS]:
        yield {"unit": unit}


def _splitting(facts: Facts, _by: Actor, _at: datetime, _forms: Forms) -> _Fields:
    parts = (f"{facts.id}.new.{n}" for n in (1, 2))
    yield {"children": tuple(c.ChildReport(case=part, description=_WORDS) for part in parts)}


def _merging(facts: Facts, _by: Actor, _at: datetime, _forms: Forms) -> _Fields:
    yield {"into": f"{facts.id}.other"}


def _parking(_facts: Facts, _by: Actor, at: datetime, _forms: Forms) -> _Fields:
    yield {"until": at + _SOME, "reason": _WORDS}


def waiting(facts: Facts) -> list[str]:
    """The units that were called and have not answered."""
    return [unit for unit, call in facts.calls if call is Call.WAITING]


_SAMPLES: Final[dict[type[Any], _Samples]] = {
    # it comes in
    c.VerifyCase: _with(),
    c.RejectCase: _with(reason=_WORDS),
    c.FileCase: _filing,
    c.ReclassifyCase: _reclassifying,
    c.AskVoid: _with(reason=_WORDS),
    c.ApproveVoid: _with(),
    # it is worked on
    c.DispatchCase: _with(),
    c.TransferCase: _with(reason=_WORDS),
    c.AcceptCase: _with(),
    c.EscalateCase: _with(reason=c.EscalationReason.BEYOND_AUTHORITY),
    c.ReturnCase: _with(directive=_WORDS),
    c.WhistleCase: _whistling,
    c.ReportIn: _reporting_in,
    c.MarkAbsent: _marking_absent,
    c.SplitCase: _splitting,
    c.MergeCase: _merging,
    # its clock
    c.AskPark: _parking,
    c.ApprovePark: _with(),
    c.ResumeCase: _reckoned(),
    c.AskExtension: _with(more=Limit(1, Unit.WORKING_DAY), reason=_WORDS),
    c.ApproveExtension: _reckoned(),
    c.DeclineRequest: _with(reason=_WORDS),
    c.RecomputeDue: _reckoned(),
    # it ends
    c.ResolveCase: _with(evidence=(_WORDS,)),
    c.CheckCase: _with(passed=True),
    c.CloseCase: _with(outcome=c.Outcome.RESOLVED),
    c.RecordCallback: _with(reached=False),
    c.EvaluateCase: _with(solved=True, satisfied=True),
    c.ReopenCase: _reckoned(reason=_WORDS),
    # at any time
    c.AddNote: _with(text=_WORDS),
    c.AttachFile: _with(attachment=_WORDS, name=_WORDS, media_type="", sha256="", size=0),
}
"""What each command that people give could be filled in with; in the order of a case's life."""

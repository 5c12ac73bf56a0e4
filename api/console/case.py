"""事项: one case, with all that has happened to it, and what the visitor can do about it now.

As it stands, as it stood at a version or an instant (时光回溯), or two such moments beside each
other. A page of the past is made by the same code from the same events, and offers no command.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from math import cos, hypot, radians
from typing import Annotated, Any, Final, NamedTuple

from fastapi import Query
from fastapi.responses import Response
from pydantic import BeforeValidator, Field

from api import cases, privacy
from api.console import clock, maps, steps
from api.console.pages import page, query
from api.console.session import AtConsole, Visitor, pages
from api.schemas import words as s
from api.schemas.cases import CardQuery, CaseCard, CaseQuery, StepAnswer, TimelineQuery
from api.schemas.personal import AccessQuery, LookAnswer
from domain import words
from domain.calendar import Worked, office_time
from domain.case.guards import able_to_accept
from domain.case.options import Forms, not_now, options, possible, waiting
from domain.case.states import Facts, Known
from domain.catalogue import Category, Size
from domain.errors import Refused
from domain.places import Tier, at_tier, tier_of, within
from domain.privacy import PersonalField, Privacy, Purpose, ShowPersonal
from domain.privacy import decide as decide_privacy
from domain.roles import Reading
from domain.staff import Unit

router: Final = pages("/cases")

LOOKS_SHOWN: Final = 20
PARTS_SHOWN: Final = 50
RELATED_SHOWN: Final = 6

NEAR_METRES: Final = 150.0
ALIKE_DAYS: Final = 7.0
"""Two matters of one category so near and so soon after each other may be the same one."""


PATHS: Final = {step.command.__name__: step.path for step in cases.STEPS}
"""Where each command is sent, by its name."""


def _local(at: datetime) -> str:
    """An instant as a browser's field for date and time has it: in office time."""
    return f"{office_time(at):%Y-%m-%dT%H:%M}"


def _office_instant(value: Any) -> Any:
    """What a browser's field for date and time gives is meant in office time, with all that
    happened within that minute."""
    return f"{value}:59.999999+08:00" if isinstance(value, str) and len(value) == 16 else value


class Moments(s.Query):
    """Which moment of a case, and which other one beside it."""

    version: s.Version | None = None
    at: Annotated[s.Instant, BeforeValidator(_office_instant)] | None = None
    beside: s.Version | None = Field(default=None, alias="with")


# --- what the page is made of -----------------------------------------------------------------


class Step(NamedTuple):
    """One step with what it says; ``gap`` is the working time since the one before."""

    step: StepAnswer
    said: list[steps.Said]
    gap: Worked


class Episode(NamedTuple):
    """One round of work on a case: 0 until it is filed, one more with each reopening."""

    number: int
    steps: list[Step]


class Rung(NamedTuple):
    """One tier that the case can be at, or has been; ``since`` is when it last came there."""

    tier: Tier
    place: str
    since: datetime | None
    here: bool


class Related(NamedTuple):
    """Another case that this one may have to do with."""

    card: CaseCard
    metres: float | None
    alike: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What the forms offer."""

    categories: Mapping[Size, Sequence[Category]]
    units: Sequence[Unit]
    """Those that may be made responsible at the tier of the case."""
    callable: Sequence[Unit]
    """Those that can be called together."""
    waiting: Sequence[Unit]
    """Those that were called and have not answered."""
    workers: Sequence[str]
    tiers: Sequence[Tier]


NO_CHOICES: Final = Choices(categories={}, units=(), callable=(), waiting=(), workers=(), tiers=())


@router.get("/{case}")
def case_page(me: AtConsole, case: s.CaseId, wanted: Annotated[Moments, Query()]) -> Response:
    """A case as it stands or stood, or two moments of it."""
    desk = me.desk
    head = desk.services.gateway.head()
    present = _card(me, case)
    known = cases.timeline(case, TimelineQuery(), desk, me.seen).steps
    past = wanted.version is not None or wanted.at is not None
    card = _card(me, case, wanted.version, wanted.at) if past else present
    if wanted.beside is not None:
        return _comparison(me, card, _card(me, case, wanted.beside), known)
    then = _then(wanted, card, me) if past else desk.at
    done = [step for step in known if step.version <= card.version]
    state, _ = desk.services.store.case(case)
    limit = state.facts.terms and state.facts.terms.sla.limit
    answers = {} if past else options(state, desk.by, desk.at, _forms(me))
    able = possible(answers)
    choices = _choices(me, state, able)
    looks = [] if past else _looks(me, present)
    people = [
        *(card.handler, card.worker, card.asked_by, card.reporter),
        *steps.people(done),
        *choices.workers,
        *(look.actor for look in looks),
    ]
    return page(
        me,
        "case.html",
        card=card,
        present=present,
        past=past,
        then=then,
        known=known,
        episodes=_episodes(me, done),
        files=[step for step in done if step.name == "case.file_attached"],
        rungs=_rungs(card, done),
        bar=clock.bar(desk.office.calendar, card, limit, then),
        facts=[fact for fact in steps.facts(card) if steps.says(fact)],
        able=able,
        cannot={name: _named(me, refused) for name, refused in not_now(answers).items()},
        choices=choices,
        purposes=[] if past else _purposes(me, present),
        looks=looks,
        parts=_parts(me, case, state.facts),
        duplicates=state.facts.duplicates,
        related=[] if past else _related(me, present),
        map=_map(me, card, then),
        names=me.names(people),
        follow=None if past or not me.reads(Reading.CASES) else head,
        local=_local,
        now_local=_local(desk.at),
        PATHS=PATHS,
        LIMITS=words.LIMIT_UNITS,
        REASONS=words.ESCALATION_REASONS,
        OUTCOMES=words.OUTCOMES,
        file_limit=desk.services.attachment_limit,
    )


def _card(
    me: Visitor, case: str, version: int | None = None, at: datetime | None = None
) -> CaseCard:
    wanted = query(CardQuery, {"version": version, "at": at and at.isoformat()})
    return cases.card(case, me.desk, Response(), wanted, me.seen)


def _then(wanted: Moments, card: CaseCard, me: Visitor) -> datetime:
    """The instant that a page of the past is about: a version's own is that of its last step."""
    return min(wanted.at or card.updated_at, me.desk.at)


def _forms(me: Visitor) -> Forms:
    office = me.desk.office
    return Forms(catalogue=office.catalogue, calendar=office.calendar, staff=office.staff)


def _episodes(me: Visitor, done: Sequence[StepAnswer]) -> list[Episode]:
    calendar, before = me.desk.office.calendar, None
    told = []
    for step in done:
        gap = calendar.worked(before or step.at, step.at)
        told.append(Step(step, steps.told(step), gap))
        before = step.at
    return [
        Episode(number, list(each)) for number, each in groupby(told, lambda one: one.step.episode)
    ]


def _rungs(card: CaseCard, done: Sequence[StepAnswer]) -> list[Rung]:
    """The tiers from the place up, each with when the case last came there."""
    came: dict[Tier, datetime] = {}
    before = None
    for step in done:
        tier = s.tier(step.tier)
        if tier is not before:
            came[tier] = step.at
        before = tier
    rungs = []
    for tier in Tier:
        place = at_tier(card.territory, tier)
        if place is not None:
            rungs.append(Rung(tier, place, came.get(tier), tier is s.tier(card.tier)))
    return rungs


def _choices(me: Visitor, state: Known, able: Sequence[str]) -> Choices:
    """What the forms offer that can be opened; nothing is gathered for the others."""
    office, facts = me.desk.office, state.facts
    given = set(able)
    category = facts.terms.category if facts.terms else ""
    units = [unit for unit in office.staff.units.values() if not unit.closed]
    district = at_tier(facts.place.path, Tier.DISTRICT) or facts.place.path
    categories: dict[Size, list[Category]] = {}
    if given & {"FileCase", "ReclassifyCase"}:
        for each in office.catalogue.categories.values():
            if each.active and each.code != category:
                categories.setdefault(each.size, []).append(each)
    assigning = bool(given & {"DispatchCase", "TransferCase"})
    called = waiting(facts)
    return replace(
        NO_CHOICES,
        categories=categories,
        units=[
            unit
            for unit in units
            if assigning
            and unit.competent(facts.place.path, category)
            and tier_of(unit.territory) is facts.tier
        ],
        callable=[
            unit
            for unit in sorted(units, key=lambda u: not within(facts.place.path, u.territory))
            if "WhistleCase" in given and within(unit.territory, district) and unit.id not in called
        ],
        waiting=[unit for unit in units if unit.id in called],
        workers=_workers(me, facts) if assigning else (),
        tiers=[tier for tier in Tier if tier >= tier_of(facts.place.path)],
    )


def _workers(me: Visitor, facts: Facts) -> list[str]:
    """Who works in the grids of a case's place and could accept it where it is now."""
    office, found = me.desk.office, []
    for worker in sorted(
        office.territory.workers(facts.place.path, office_time(me.desk.at).date())
    ):
        with suppress(Refused):  # suspended, or known to the tree alone
            if able_to_accept(facts, office.staff.actor(worker)):
                found.append(worker)
    return found


def _named(me: Visitor, refused: Refused) -> str:
    """Why not, with names for ids where a text in Chinese has them."""
    units = me.desk.office.staff.units
    spoken = dict(refused.facts)
    if "unit" in spoken:
        unit = units.get(spoken["unit"])
        known = spoken["unit"] if me.language == "en" else unit and unit.name
        spoken["unit"] = known if unit else "—"
    told = Refused(refused.code, **spoken)
    return me.t(told.zh, told.en)


def _purposes(me: Visitor, card: CaseCard) -> list[Purpose]:
    """What the visitor may look at personal data for, as the rule itself says."""
    return [purpose for purpose in Purpose if _may_look(me, card, purpose)]


def _may_look(me: Visitor, card: CaseCard, purpose: Purpose) -> bool:
    look = ShowPersonal(
        by=me.desk.by,
        at=me.desk.at,
        case=card.case,
        place=card.territory,
        holder=card.holder,
        purpose=purpose,
        fields=(PersonalField.DESCRIPTION,),
        reason="-",
        reporter=card.reporter,
    )
    try:
        decide_privacy(Privacy(), look)
    except Refused:
        return False
    return True


def _looks(me: Visitor, card: CaseCard) -> list[LookAnswer]:
    """Who looked before: told to those who may know."""
    if not me.reads(Reading.AUDIT) and card.reporter != me.desk.by.id:
        return []
    wanted = AccessQuery(case=card.case, limit=LOOKS_SHOWN)
    return privacy.access(wanted, me.desk, me.seen).rows


def _parts(me: Visitor, case: str, facts: Facts) -> list[CaseCard]:
    """The children of a case that was split."""
    if not facts.children:
        return []
    wanted = CaseQuery(parent=case, order="reported", limit=PARTS_SHOWN)
    return cases.worklist_page(wanted, me.desk, me.seen).rows


def _related(me: Visitor, card: CaseCard) -> list[Related]:
    return [
        Related(other, metres, _alike(card, other, metres))
        for other in cases.related(card.case, s.Known(), me.desk, me.seen).rows[:RELATED_SHOWN]
        for metres in (_metres(card, other),)
    ]


def _alike(card: CaseCard, other: CaseCard, metres: float | None) -> bool:
    """Whether two cases may be one matter: of one category, near, soon after each other."""
    near = card.territory == other.territory if metres is None else metres <= NEAR_METRES
    days = abs((card.occurred_at - other.occurred_at).total_seconds()) / 86_400
    return near and days <= ALIKE_DAYS and card.category == other.category


def _metres(card: CaseCard, other: CaseCard) -> float | None:
    """How far apart, on a plane: over some hundred metres that is exact enough."""
    here, there = _spot(card), _spot(other)
    if here is None or there is None:
        return None
    degree = 111_320.0
    across = (here[0] - there[0]) * cos(radians(here[1])) * degree
    return hypot(across, (here[1] - there[1]) * degree)


def _spot(card: CaseCard) -> tuple[float, float] | None:
    """Longitude and latitude, where they are known."""
    if card.longitude is None or card.latitude is None:
        return None
    return card.longitude, card.latitude


def _map(me: Visitor, card: CaseCard, then: datetime) -> maps.Map:
    """The grids of the case's community on that day, with the spot where it is known."""
    around = at_tier(card.territory, Tier.COMMUNITY)
    paths = [around] if around else []  # a whole subdistrict would show nothing
    day = office_time(then).date()
    return maps.of(me.desk.office.territory, paths, day, spot=_spot(card), here=card.territory)


# --- two moments ------------------------------------------------------------------------------


class Difference(NamedTuple):
    """One fact at two moments."""

    first: steps.Fact
    second: steps.Fact

    @property
    def changed(self) -> bool:
        """Whether it differs."""
        return bool(self.first.value != self.second.value)


def _comparison(
    me: Visitor, first: CaseCard, second: CaseCard, known: Sequence[StepAnswer]
) -> Response:
    """Two moments beside each other, the earlier one first, with the steps between."""
    if first.version > second.version:
        first, second = second, first
    between = [step for step in known if first.version < step.version <= second.version]
    differences = [
        Difference(a, b)
        for a, b in zip(steps.facts(first), steps.facts(second), strict=True)
        if steps.says(a) or steps.says(b)
    ]
    people = [
        *(card_person for card in (first, second) for card_person in _people(card)),
        *steps.people(between),
    ]
    return page(
        me,
        "case-compare.html",
        card=second,
        first=first,
        second=second,
        differences=differences,
        episodes=_episodes(me, between),
        names=me.names(people),
        LIMITS=words.LIMIT_UNITS,
    )


def _people(card: CaseCard) -> tuple[str | None, ...]:
    return card.handler, card.worker, card.asked_by

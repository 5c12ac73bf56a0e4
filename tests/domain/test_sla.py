"""When a matter is due: category × limit × start, pauses, extensions."""

from dataclasses import replace
from datetime import date, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from domain import calendar
from domain.calendar import DEFAULT_HOURS, Calendar, Reckoned, YearPublished
from domain.catalogue import SEED
from domain.sla import LONGEST, Limit, Pause, Unit, elapsed, reckon
from tests.domain.schedules import SHORT, SUMMER, knowing, local

CALENDAR = knowing(2025, 2026)
LIMITS = {category.code: category.limit for category in SEED}
HOUR = 3600
FULL_DAY = 7 * HOUR


def pause(start: str, end: str) -> Pause:
    return Pause(local(start), local(end))


def limit(amount: int, unit: str) -> Limit:
    return Limit(amount, Unit(unit))


# Spring Festival 2026: off from Sunday 15 to Monday 23 February, Saturdays 14 and 28 are worked.
@pytest.mark.parametrize(
    ("category", "start", "due"),
    [
        # working hours
        ("exposed_garbage", "2026-03-02 08:30", "2026-03-02 14:30"),
        ("exposed_garbage", "2026-03-02 07:00", "2026-03-02 14:30"),
        ("exposed_garbage", "2026-03-06 16:00", "2026-03-09 11:00"),
        ("exposed_garbage", "2026-03-07 16:00", "2026-03-09 14:30"),
        ("exposed_garbage", "2026-02-13 16:00", "2026-02-14 11:00"),
        ("exposed_garbage", "2026-02-14 16:00", "2026-02-24 11:00"),
        ("exposed_garbage", "2026-02-18 12:00", "2026-02-24 14:30"),
        ("dirty_road", "2026-02-14 12:30", "2026-02-24 10:00"),
        ("road_flooding", "2026-02-27 16:30", "2026-02-28 11:30"),
        # working days
        ("muck", "2026-02-14 08:30", "2026-02-24 17:30"),
        ("street_light", "2026-02-16 10:00", "2026-02-25 17:30"),
        ("street_light", "2026-02-13 10:00:30", "2026-02-24 10:00:30"),
        ("green_space_upkeep", "2026-02-13 14:00", "2026-02-27 12:00"),
        ("illegal_construction", "2026-02-09 08:30", "2026-03-05 17:30"),
        ("dirty_water", "2026-09-21 08:30", "2026-10-16 17:30"),
        # hours and days, whatever the calendar says
        ("missing_manhole_cover", "2026-02-16 23:30", "2026-02-17 01:30"),
        ("water_or_gas_cut", "2026-02-14 18:00", "2026-02-15 18:00"),
        ("neighbour_dispute", "2026-02-14 20:00", "2026-02-21 20:00"),
        ("noise", "2026-02-28 09:00", "2026-03-01 09:00"),
        ("wage_arrears", "2026-12-28 09:00", "2027-01-12 09:00"),
        # the same day
        ("consultation", "2026-02-13 11:00", "2026-02-13 17:30"),
        ("consultation", "2026-02-14 17:29:59", "2026-02-14 17:30"),
        ("consultation", "2026-02-14 17:30", "2026-02-24 17:30"),
        ("consultation", "2026-02-18 09:00", "2026-02-24 17:30"),
    ],
)
def test_due(category: str, start: str, due: str) -> None:
    rule = LIMITS[category]
    assert rule is not None
    assert reckon(CALENDAR, local(start), rule) == Reckoned(local(due), False)


@pytest.mark.parametrize(
    ("rule", "pauses", "due"),
    [
        (limit(4, "wh"), (), "2026-03-02 14:30"),
        (limit(4, "wh"), (pause("2026-03-02 09:00", "2026-03-02 10:00"),), "2026-03-02 15:30"),
        # over lunch only the working time counts
        (limit(4, "wh"), (pause("2026-03-02 11:30", "2026-03-02 14:30"),), "2026-03-02 15:30"),
        # a night, a lunch break and a holiday take nothing
        (limit(4, "wh"), (pause("2026-03-02 12:00", "2026-03-02 14:00"),), "2026-03-02 14:30"),
        (limit(2, "wd"), (pause("2026-03-02 17:30", "2026-03-03 08:30"),), "2026-03-03 17:30"),
        (limit(2, "wd"), (pause("2026-03-02 17:00", "2026-03-03 09:00"),), "2026-03-04 09:30"),
        # from before the start, and from the due itself on
        (limit(4, "wh"), (pause("2026-03-01 09:00", "2026-03-02 09:30"),), "2026-03-02 15:30"),
        (limit(4, "wh"), (pause("2026-02-26 09:00", "2026-02-27 09:30"),), "2026-03-02 14:30"),
        (limit(4, "wh"), (pause("2026-03-02 14:30", "2026-03-04 09:30"),), "2026-03-02 14:30"),
        (
            limit(4, "wh"),
            (pause("2026-03-02 14:29:59", "2026-03-03 08:30"),),
            "2026-03-03 08:30:01",
        ),
        # the calendar clock loses all of a pause
        (limit(2, "h"), (pause("2026-03-02 09:00", "2026-03-02 22:00"),), "2026-03-02 23:30"),
        (limit(1, "d"), (pause("2026-03-02 12:00", "2026-03-05 12:00"),), "2026-03-06 08:30"),
        # overlapping, nested, touching, out of order: each second once
        (
            limit(1, "d"),
            (
                pause("2026-03-02 15:00", "2026-03-02 18:00"),
                pause("2026-03-02 12:00", "2026-03-02 16:00"),
                pause("2026-03-02 13:00", "2026-03-02 14:00"),
                pause("2026-03-02 18:00", "2026-03-02 18:30"),
            ),
            "2026-03-03 15:00",
        ),
        (
            limit(4, "wh"),
            (
                pause("2026-03-02 09:00", "2026-03-02 10:00"),
                pause("2026-03-02 09:30", "2026-03-02 10:30"),
                pause("2026-03-02 14:00", "2026-03-02 14:30"),
            ),
            "2026-03-02 16:30",
        ),
        # the same day moves by the working time lost, and into the next day where it must
        (
            limit(1, "same_day"),
            (pause("2026-03-02 10:00", "2026-03-02 11:00"),),
            "2026-03-03 09:30",
        ),
        (
            limit(1, "same_day"),
            (pause("2026-03-02 12:00", "2026-03-02 14:00"),),
            "2026-03-02 17:30",
        ),
        (
            limit(1, "same_day"),
            (pause("2026-03-02 10:00", "2026-03-03 10:00"),),
            "2026-03-03 17:30",
        ),
    ],
)
def test_a_pause_moves_the_due_by_the_time_lost(
    rule: Limit, pauses: tuple[Pause, ...], due: str
) -> None:
    assert reckon(CALENDAR, local("2026-03-02 08:30"), rule, pauses).at == local(due)


@pytest.mark.parametrize(
    ("rule", "extensions", "due"),
    [
        (limit(2, "wd"), (limit(1, "wd"),), "2026-03-04 17:30"),
        (limit(2, "wd"), (limit(1, "wd"), limit(2, "wd")), "2026-03-06 17:30"),
        (limit(2, "wd"), (limit(1, "d"),), "2026-03-04 17:30"),
        (limit(1, "d"), (limit(1, "wd"),), "2026-03-03 17:30"),
        (limit(7, "d"), (limit(2, "wh"),), "2026-03-09 10:30"),
        (limit(1, "same_day"), (limit(1, "same_day"),), "2026-03-03 17:30"),
        (limit(2, "h"), (limit(1, "same_day"),), "2026-03-02 17:30"),
        # one after another, so the order matters: into a night, or out of it
        (limit(7, "wh"), (limit(3, "h"), limit(1, "wh")), "2026-03-03 09:30"),
        (limit(7, "wh"), (limit(1, "wh"), limit(3, "h")), "2026-03-03 12:30"),
    ],
)
def test_an_extension_runs_on_its_own_clock(
    rule: Limit, extensions: tuple[Limit, ...], due: str
) -> None:
    got = reckon(CALENDAR, local("2026-03-02 08:30"), rule, extensions=extensions)
    assert got == Reckoned(local(due), False)


def test_a_pause_after_the_first_due_moves_the_extended_one() -> None:
    start, rule = local("2026-03-02 08:30"), limit(1, "wd")
    parked = (pause("2026-03-03 08:30", "2026-03-04 08:30"),)
    assert reckon(CALENDAR, start, rule, parked).at == local("2026-03-02 17:30")
    for extension in (rule, limit(24, "h")):
        extended = reckon(CALENDAR, start, rule, (), (extension,)).at
        lost = timedelta(days=1)
        assert reckon(CALENDAR, start, rule, parked, (extension,)).at == extended + lost


# New Year: provisional


def test_parked_over_an_unpublished_new_year() -> None:
    start, rule = local("2026-12-21 08:30"), limit(5, "wd")
    parked = (pause("2026-12-23 08:30", "2027-01-04 08:30"),)
    assert reckon(CALENDAR, start, rule) == Reckoned(local("2026-12-25 17:30"), False)
    assert reckon(CALENDAR, start, rule, parked) == Reckoned(local("2027-01-06 17:30"), True)
    # The schedule comes out: Monday 4 January is off as well. The pause is still accounted for.
    new_year = tuple(date(2027, 1, day) for day in (1, 2, 3, 4))
    published = YearPublished(at=start, year=2027, holidays=new_year, makeup_days=())
    firm = calendar.evolve(CALENDAR, published)
    assert reckon(firm, start, rule, parked) == Reckoned(local("2027-01-07 17:30"), False)


def test_a_change_of_hours_keeps_the_pauses() -> None:
    start, rule = local("2026-03-02 08:30"), limit(2, "wd")
    parked = (pause("2026-03-02 14:00", "2026-03-03 14:00"),)
    assert reckon(CALENDAR, start, rule, parked).at == local("2026-03-04 17:30")
    mornings = replace(CALENDAR, hours=CALENDAR.hours[:1])
    assert reckon(mornings, start, rule, parked).at == local("2026-03-04 12:00")


# A change of hours: from Friday 1 May 2026, a holiday until Tuesday 5 May; Saturday 9 is worked.
SEASONS = replace(CALENDAR, changes={date(2026, 5, 1): SUMMER, date(2026, 10, 1): DEFAULT_HOURS})
SHORTENED = replace(CALENDAR, changes={date(2026, 5, 1): SHORT})


@pytest.mark.parametrize(
    ("known", "start", "rule", "due"),
    [
        # so many working days later, at the same point of the day's work
        (SEASONS, "2026-04-29 09:00", limit(2, "wd"), "2026-05-06 09:00"),
        (SEASONS, "2026-04-29 15:00", limit(2, "wd"), "2026-05-06 15:30"),
        (SEASONS, "2026-04-30 07:00", limit(2, "wd"), "2026-05-06 18:00"),
        (SEASONS, "2026-04-30 20:00", limit(2, "wd"), "2026-05-07 18:00"),
        (SEASONS, "2026-09-30 16:00", limit(1, "wd"), "2026-10-08 15:30"),
        # days count as days, also where they are shorter
        (SHORTENED, "2026-04-29 08:30", limit(4, "wd"), "2026-05-07 17:30"),
        (SHORTENED, "2026-04-29 12:00", limit(2, "wd"), "2026-05-06 11:30"),
        # hours count as hours
        (SEASONS, "2026-04-30 16:30", limit(4, "wh"), "2026-05-06 11:30"),
        (SHORTENED, "2026-04-29 08:30", limit(28, "wh"), "2026-05-08 10:30"),
        # the same day ends as that day does
        (SHORTENED, "2026-04-30 18:00", limit(1, "same_day"), "2026-05-06 17:30"),
        (SEASONS, "2026-05-06 17:45", limit(1, "same_day"), "2026-05-06 18:00"),
        # before the change nothing is new
        (SHORTENED, "2026-04-28 09:00", limit(2, "wd"), "2026-04-30 09:00"),
    ],
)
def test_a_limit_across_a_change_of_hours(
    known: Calendar, start: str, rule: Limit, due: str
) -> None:
    assert reckon(known, local(start), rule) == Reckoned(local(due), False)


@pytest.mark.parametrize(
    ("held", "extensions", "due"),
    [
        ((), (), "2026-05-07 17:30"),
        # two days before the change, or one before and one after, are two days
        ((pause("2026-04-29 08:30", "2026-05-06 08:30"),), (), "2026-05-09 17:30"),
        ((pause("2026-04-30 08:30", "2026-05-07 08:30"),), (), "2026-05-09 17:30"),
        # half a day of seven hours is half a day of six
        ((pause("2026-04-30 08:30", "2026-04-30 12:00"),), (), "2026-05-08 11:30"),
        ((pause("2026-05-06 08:30", "2026-05-06 11:30"),), (), "2026-05-08 11:30"),
        ((), (limit(1, "wd"),), "2026-05-08 17:30"),
        ((pause("2026-04-30 08:30", "2026-05-06 08:30"),), (limit(1, "wd"),), "2026-05-09 17:30"),
    ],
)
def test_days_that_are_paused_or_added_across_a_change_of_hours(
    held: tuple[Pause, ...], extensions: tuple[Limit, ...], due: str
) -> None:
    start, rule = local("2026-04-29 08:30"), limit(4, "wd")
    assert reckon(SHORTENED, start, rule, held, extensions).at == local(due)


def test_seconds_have_run_as_they_were_worked_whatever_the_hours_become() -> None:
    start, until = local("2026-04-29 08:30"), local("2026-05-06 17:30")
    parked = (pause("2026-04-30 12:00", "2026-05-06 11:30"),)
    for rule in (limit(4, "wd"), limit(20, "wh")):
        assert elapsed(SHORTENED, start, until, rule) == 20 * HOUR
        assert elapsed(SHORTENED, start, until, rule, parked) == (7 + 3.5 + 3) * HOUR


@pytest.mark.parametrize(
    ("rule", "extensions", "provisional"),
    [
        (limit(20, "d"), (), False),
        (limit(5, "wd"), (limit(20, "d"),), False),
        (limit(20, "d"), (limit(1, "wh"),), True),
        (limit(20, "wd"), (limit(1, "d"),), True),
        (limit(20, "d"), (limit(1, "same_day"),), True),
    ],
)
def test_only_the_working_clock_depends_on_a_schedule(
    rule: Limit, extensions: tuple[Limit, ...], provisional: bool
) -> None:
    got = reckon(CALENDAR, local("2026-12-21 08:30"), rule, (), extensions)
    assert got.provisional is provisional


# elapsed


@pytest.mark.parametrize(
    ("rule", "until", "pauses", "seconds"),
    [
        (limit(2, "wd"), "2026-03-03 17:30", (), 2 * FULL_DAY),
        (
            limit(2, "wd"),
            "2026-03-03 17:30",
            (pause("2026-03-02 17:00", "2026-03-03 09:30"),),
            45000,
        ),
        (limit(4, "wh"), "2026-03-02 08:00", (), 0),
        (limit(2, "h"), "2026-03-02 18:30", (), 10 * HOUR),
        (None, "2026-03-04 08:30", (pause("2026-03-02 09:30", "2026-03-03 09:30"),), 24 * HOUR),
        # a pause that still lasts, one that lies ahead, and two that overlap
        (None, "2026-03-02 12:30", (pause("2026-03-02 09:30", "2026-03-03 09:30"),), HOUR),
        (None, "2026-03-02 09:30", (pause("2026-03-02 12:30", "2026-03-03 09:30"),), HOUR),
        (
            limit(1, "d"),
            "2026-03-02 12:30",
            (
                pause("2026-03-02 10:00", "2026-03-02 11:30"),
                pause("2026-03-02 09:30", "2026-03-02 10:30"),
                pause("2026-03-02 12:00", "2026-03-02 13:00"),
                pause("2026-03-02 12:15", "2026-03-02 13:30"),
            ),
            90 * 60,
        ),
    ],
)
def test_elapsed(rule: Limit | None, until: str, pauses: tuple[Pause, ...], seconds: int) -> None:
    got = elapsed(CALENDAR, local("2026-03-02 08:30"), local(until), rule, pauses)
    assert got == seconds


# limits


@pytest.mark.parametrize(
    ("rule", "sensible"),
    [
        (limit(0, "h"), False),
        (limit(1, "h"), True),
        (limit(LONGEST, "wd"), True),
        (limit(LONGEST + 1, "wd"), False),
        (limit(1, "same_day"), True),
        (limit(2, "same_day"), False),
    ],
)
def test_which_limits_make_sense(rule: Limit, sensible: bool) -> None:
    assert rule.is_sensible is sensible


def test_a_pause_does_not_end_before_it_begins() -> None:
    with pytest.raises(AssertionError):
        pause("2026-03-02 09:00", "2026-03-02 08:59")


# properties

START = local("2026-01-05 00:00")
instants = st.integers(0, 60 * 86400).map(lambda seconds: START + timedelta(seconds=seconds))
pauses = st.builds(
    lambda start, hours: Pause(start, start + timedelta(hours=hours)),
    instants,
    st.integers(0, 24 * 12),
)
some_pauses = st.lists(pauses, max_size=4).map(tuple)
SOME_SEASONS = replace(
    CALENDAR,
    changes={
        date(2026, 1, 20): SUMMER,
        date(2026, 2, 16): DEFAULT_HOURS,
        date(2026, 2, 27): SUMMER,
    },
)
calendars = st.sampled_from((CALENDAR, SOME_SEASONS))
"""Days of the same length: so many days are so many seconds, whenever the hours change."""
uneven = st.dictionaries(
    st.dates(START.date(), date(2026, 4, 1)),
    st.sampled_from((DEFAULT_HOURS, SUMMER, SHORT, SHORT[:1])),
    max_size=4,
).map(lambda changes: replace(CALENDAR, changes=changes))
limits = st.builds(
    Limit, st.integers(1, 12), st.sampled_from([u for u in Unit if u is not Unit.SAME_DAY])
) | st.just(limit(1, "same_day"))
moderate = settings(max_examples=60, deadline=None)


def budget(known: Calendar, start: datetime, rule: Limit) -> int:
    """The seconds of a limit on its clock."""
    return elapsed(known, start, reckon(known, start, rule).at, rule)


@moderate
@for_all(calendars, instants, limits, some_pauses)
def test_exactly_the_limit_has_run_when_it_is_due(
    known: Calendar, start: datetime, rule: Limit, held: tuple[Pause, ...]
) -> None:
    due = reckon(known, start, rule, held).at
    assert elapsed(known, start, due, rule, held) == budget(known, start, rule)
    # ... and not a second before.
    before = due - timedelta(seconds=1)
    assert elapsed(known, start, before, rule, held) == budget(known, start, rule) - 1


@moderate
@for_all(uneven, instants, st.integers(1, 12), some_pauses)
def test_exactly_the_days_have_run_when_it_is_due_whatever_hours_they_have(
    known: Calendar, start: datetime, amount: int, held: tuple[Pause, ...]
) -> None:
    due = reckon(known, start, limit(amount, "wd"), held).at
    assert days_run(known, start, due, held) >= amount
    assert days_run(known, start, due - timedelta(seconds=1), held) < amount


def days_run(
    known: Calendar, start: datetime, until: datetime, held: tuple[Pause, ...]
) -> Fraction:
    """The working days from an instant to another that no pause takes."""
    edges = sorted({start, until, *(edge for each in held for edge in (each.start, each.end))})
    return sum(
        (
            known.days_worked(one, two)
            for one, two in pairwise(edge for edge in edges if start <= edge <= until)
            if not any(each.start <= one and two <= each.end for each in held)
        ),
        Fraction(0),
    )


@moderate
@for_all(calendars, instants, limits, pauses)
def test_a_pause_within_the_time_moves_the_due_by_its_own_clock(
    known: Calendar, start: datetime, rule: Limit, held: Pause
) -> None:
    due = reckon(known, start, rule).at
    moved = reckon(known, start, rule, (held,)).at
    if held.start >= due:
        assert moved == due
    else:
        lost = elapsed(known, max(start, held.start), held.end, rule)
        assert elapsed(known, due, moved, rule) == lost


@moderate
@for_all(uneven, instants, limits, some_pauses, st.randoms(use_true_random=False))
def test_order_and_repetition_of_pauses_do_not_matter(
    known: Calendar, start: datetime, rule: Limit, held: tuple[Pause, ...], random: Random
) -> None:
    shuffled = [*held, *held[:2]]
    random.shuffle(shuffled)
    assert reckon(known, start, rule, tuple(shuffled)) == reckon(known, start, rule, held)


@moderate
@for_all(uneven, instants, limits, some_pauses, pauses)
def test_another_pause_never_brings_the_due_forward(
    known: Calendar, start: datetime, rule: Limit, held: tuple[Pause, ...], more: Pause
) -> None:
    assert reckon(known, start, rule, held).at <= reckon(known, start, rule, (*held, more)).at


@moderate
@for_all(uneven, instants, limits, some_pauses)
def test_to_cut_a_pause_in_two_changes_nothing(
    known: Calendar, start: datetime, rule: Limit, held: tuple[Pause, ...]
) -> None:
    halves = []
    for each in held:
        middle = each.start + (each.end - each.start) / 2
        halves += [Pause(middle, each.end), Pause(each.start, middle)]
    assert reckon(known, start, rule, tuple(halves)) == reckon(known, start, rule, held)


@moderate
@for_all(calendars, instants, st.integers(1, 9), st.integers(1, 9), some_pauses)
def test_an_extension_in_the_same_unit_is_a_longer_limit(
    known: Calendar, start: datetime, some: int, more: int, held: tuple[Pause, ...]
) -> None:
    for unit in ("wh", "wd", "h", "d"):
        extended = reckon(known, start, limit(some, unit), held, (limit(more, unit),))
        assert extended == reckon(known, start, limit(some + more, unit), held)


@moderate
@for_all(uneven, instants, limits, st.lists(limits, max_size=3).map(tuple), some_pauses)
def test_a_due_is_never_before_the_start_nor_a_shorter_one_after(
    known: Calendar,
    start: datetime,
    rule: Limit,
    extensions: tuple[Limit, ...],
    held: tuple[Pause, ...],
) -> None:
    due = start
    for count in range(len(extensions) + 1):
        later = reckon(known, start, rule, held, extensions[:count]).at
        assert later > due
        due = later


def test_a_calendar_that_knows_nothing_still_answers() -> None:
    assert reckon(Calendar(), START, limit(LONGEST, "wd")).provisional

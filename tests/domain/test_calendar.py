"""Working days, working hours, and arithmetic on them."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from fractions import Fraction

import chinese_calendar
import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from domain import calendar
from domain.calendar import (
    DEFAULT_HOURS,
    OFFICE_TIME,
    Calendar,
    DayDeclared,
    DeclareDay,
    Period,
    PublishYear,
    Reckoned,
    SetWorkingHours,
    WorkingHoursChanged,
    WorkingHoursSet,
    YearPublished,
)
from domain.places import EVERYWHERE
from domain.roles import Actor, Grant, Role, system
from tests.domain.schedules import SHORT, SUMMER, knowing, local, year
from tests.specification import Specification

given = Specification(calendar.decide, calendar.evolve, calendar.initial).given

AT = local("2026-01-05 09:00")
BY = system("set-up")
NATIONAL_DAY = date(2026, 10, 1)
PLAIN_MONDAY = date(2026, 3, 2)
FULL_DAY = 7 * 3600
CALENDAR = knowing(2025, 2026)
MAY, OCTOBER = date(2026, 5, 1), date(2026, 10, 1)


def publish(number: int, holidays: object = (), makeup_days: object = ()) -> PublishYear:
    """A notice with these days."""
    assert isinstance(holidays, tuple)
    assert isinstance(makeup_days, tuple)
    return PublishYear(by=BY, at=AT, year=number, holidays=holidays, makeup_days=makeup_days)


def declare(day: date, working: bool, reason: str = "台风") -> DeclareDay:
    return DeclareDay(by=BY, at=AT, day=day, working=working, reason=reason)


def declared(day: date, working: bool) -> DayDeclared:
    return DayDeclared(at=AT, day=day, working=working, reason="台风")


def set_hours(*periods: Period, since: date | None = None) -> SetWorkingHours:
    return SetWorkingHours(by=BY, at=AT, periods=periods, since=since)


def changed(since: date, periods: tuple[Period, ...] = SUMMER) -> WorkingHoursChanged:
    return WorkingHoursChanged(at=AT, since=since, periods=periods)


# commands


def test_a_year_is_published_in_order_and_each_day_once() -> None:
    days = (date(2027, 1, 2), date(2027, 1, 1), date(2027, 1, 2))
    given().when(publish(2027, days, (date(2027, 1, 10), date(2027, 1, 9)))).then(
        YearPublished(
            at=AT,
            year=2027,
            holidays=(date(2027, 1, 1), date(2027, 1, 2)),
            makeup_days=(date(2027, 1, 9), date(2027, 1, 10)),
        )
    )


def test_publishing_the_same_again_changes_nothing() -> None:
    known = year(2026)
    given(known).when(publish(2026, known.holidays[::-1], known.makeup_days)).then()


def test_another_notice_for_a_year_replaces_the_first() -> None:
    known = year(2026)
    (republished,) = given(known).when(publish(2026, (NATIONAL_DAY,))).events
    after = given(known, republished).state
    assert not after.is_working_day(NATIONAL_DAY)
    assert after.is_working_day(date(2026, 10, 2))
    assert not after.is_working_day(date(2026, 10, 10))


def test_the_days_around_new_year_come_with_the_notice_of_the_new_year() -> None:
    known = given().when(publish(2019, (date(2018, 12, 31),), (date(2018, 12, 29),))).events
    after = given(*known).state
    assert not after.is_working_day(date(2018, 12, 31))
    assert after.is_working_day(date(2018, 12, 29))


def test_of_two_notices_for_one_day_that_of_the_later_year_holds() -> None:
    day = date(2018, 12, 31)
    later = YearPublished(at=AT, year=2019, holidays=(day,), makeup_days=())
    earlier = YearPublished(at=AT, year=2018, holidays=(), makeup_days=(day,))
    assert not given(later, earlier).state.is_working_day(day)
    assert not given(earlier, later).state.is_working_day(day)


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (publish(1948), "calendar.bad_year"),
        (publish(3000), "calendar.bad_year"),
        (publish(2026, (date(2027, 1, 1),)), "calendar.day_outside"),
        (publish(2026, (date(2025, 12, 27),)), "calendar.day_outside"),
        (publish(2026, (), (date(2025, 12, 27),)), "calendar.day_outside"),
        (publish(2026, (NATIONAL_DAY,), (NATIONAL_DAY,)), "calendar.day_twice"),
        (
            publish(2026, tuple(date(2026, 1, 1) + timedelta(days=n) for n in range(365))),
            "calendar.no_hours",
        ),
        (declare(PLAIN_MONDAY, False, " "), "calendar.reason_missing"),
        (declare(date(1948, 12, 31), False), "calendar.bad_year"),
        (declare(date(3000, 1, 1), False), "calendar.bad_year"),
        (set_hours(), "calendar.no_hours"),
        (set_hours(Period(-1, 60)), "calendar.bad_hours"),
        (set_hours(Period(60, 60)), "calendar.bad_hours"),
        (set_hours(Period(0, 1441)), "calendar.bad_hours"),
        (set_hours(Period(0, 60), Period(59, 120)), "calendar.bad_hours"),
        (set_hours(since=MAY), "calendar.no_hours"),
        (set_hours(Period(60, 60), since=MAY), "calendar.bad_hours"),
        (set_hours(*SUMMER, since=date(1948, 12, 31)), "calendar.bad_year"),
        (set_hours(*SUMMER, since=date(3000, 1, 1)), "calendar.bad_year"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_cannot_be_is_refused(command: calendar.Command, code: str) -> None:
    given().when(command).refused(code)


def test_the_last_working_day_of_a_year_cannot_be_declared_off() -> None:
    weekdays = [date(2027, 1, 1) + timedelta(days=n) for n in range(365)]
    *off, last = [day for day in weekdays if day.weekday() < 5]
    history = YearPublished(at=AT, year=2027, holidays=tuple(off), makeup_days=())
    given(history).when(declare(last, False)).refused("calendar.no_hours")


def test_a_declared_day_holds_against_any_schedule() -> None:
    given(year(2026)).when(declare(NATIONAL_DAY, True)).then(declared(NATIONAL_DAY, True))
    for history in (
        (declared(NATIONAL_DAY, True), year(2026)),
        (year(2026), declared(NATIONAL_DAY, True)),
    ):
        assert given(*history).state.is_working_day(NATIONAL_DAY)


def test_a_day_is_declared_once_and_may_be_declared_otherwise() -> None:
    off = declared(PLAIN_MONDAY, False)
    given(off).when(declare(PLAIN_MONDAY, False, "又一次")).then()
    given(off).when(declare(PLAIN_MONDAY, True)).then(declared(PLAIN_MONDAY, True))
    assert (
        given(off, declared(PLAIN_MONDAY, True)).state == given(declared(PLAIN_MONDAY, True)).state
    )


def test_hours_are_set_in_order_and_only_when_they_change() -> None:
    morning, afternoon = Period(9 * 60, 12 * 60), Period(12 * 60, 18 * 60)
    event = WorkingHoursSet(at=AT, periods=(morning, afternoon))
    given().when(set_hours(afternoon, morning)).then(event)
    given(event).when(set_hours(morning, afternoon)).then()
    given().when(set_hours(*DEFAULT_HOURS)).then()
    assert given(event).state.working_seconds(local("2026-03-02"), local("2026-03-03")) == 9 * 3600


def test_hours_hold_from_a_day_on_until_the_next_change() -> None:
    summer = changed(MAY)
    given().when(set_hours(*SUMMER[::-1], since=MAY)).then(summer)
    given(summer).when(set_hours(*SUMMER, since=MAY)).then()
    given(summer).when(set_hours(*SHORT, since=MAY)).then(changed(MAY, SHORT))
    known = given(changed(OCTOBER, DEFAULT_HOURS), summer).state
    assert [
        known.hours_on(day)
        for day in (date.min, date(2026, 4, 30), MAY, date(2026, 9, 30), OCTOBER, date.max)
    ] == [DEFAULT_HOURS, DEFAULT_HOURS, SUMMER, SUMMER, DEFAULT_HOURS, DEFAULT_HOURS]
    assert known == given(changed(MAY, SHORT), summer, changed(OCTOBER, DEFAULT_HOURS)).state


def test_winter_may_be_set_before_the_summer_that_it_ends() -> None:
    winter = changed(OCTOBER, DEFAULT_HOURS)
    given().when(set_hours(*DEFAULT_HOURS, since=OCTOBER)).then(winter)
    given(winter).when(set_hours(*SUMMER, since=MAY)).then(changed(MAY))


def test_hours_for_all_time_replace_every_change() -> None:
    always = WorkingHoursSet(at=AT, periods=SHORT)
    given(changed(MAY)).when(set_hours(*SHORT)).then(always)
    given(changed(MAY)).when(set_hours(*DEFAULT_HOURS)).then(
        WorkingHoursSet(at=AT, periods=DEFAULT_HOURS)
    )
    assert given(changed(MAY), always).state == given(always).state
    given(changed(MAY), always).when(set_hours(*SHORT)).then()


@pytest.mark.parametrize("command", [publish(2026), declare(PLAIN_MONDAY, False), set_hours()])
def test_the_calendar_is_for_the_administrator_of_the_whole_office(
    command: calendar.Command,
) -> None:
    below = Actor("a", (Grant(Role.ADMINISTRATOR, "d1/"), Grant(Role.SHIFT_LEAD, EVERYWHERE)))
    given().when(replace(command, by=below)).refused("role.not_permitted")


# days


@pytest.mark.parametrize("number", range(2018, 2027))
def test_published_years_agree_with_their_source_on_every_day(number: int) -> None:
    known = knowing(number)
    for day in (date(number, 1, 1) + timedelta(days=n) for n in range(365)):
        assert known.is_working_day(day) is chinese_calendar.is_workday(day), day


def test_an_unpublished_year_is_monday_to_friday() -> None:
    unknown = Calendar()
    assert [unknown.is_working_day(date(2026, 9, 28) + timedelta(days=n)) for n in range(7)] == [
        True, True, True, True, True, False, False,
    ]  # fmt: skip


def test_working_days_are_counted_without_the_last() -> None:
    assert CALENDAR.working_days(date(2026, 2, 9), date(2026, 2, 25)) == 7
    assert CALENDAR.working_days(date(2026, 2, 15), date(2026, 2, 24)) == 0


# seconds


@pytest.mark.parametrize(
    ("start", "end", "seconds"),
    [
        ("2026-03-02 08:30", "2026-03-02 17:30", FULL_DAY),
        ("2026-03-02 00:00", "2026-03-03 00:00", FULL_DAY),
        ("2026-03-02 08:30", "2026-03-02 08:30:01", 1),
        ("2026-03-02 11:59:59", "2026-03-02 14:00:01", 2),
        ("2026-03-02 12:00", "2026-03-02 14:00", 0),
        ("2026-03-02 17:30", "2026-03-03 08:30", 0),
        ("2026-03-06 17:00", "2026-03-09 09:00", 3600),
        ("2026-02-14 08:30", "2026-02-14 17:30", FULL_DAY),  # a Saturday that is worked
        ("2026-02-14 17:30", "2026-02-24 08:30", 0),  # Spring Festival
        ("2026-03-02 17:30", "2026-03-02 08:30", 0),  # the wrong way round
    ],
)
def test_working_seconds(start: str, end: str, seconds: int) -> None:
    assert CALENDAR.working_seconds(local(start), local(end)) == seconds


@pytest.mark.parametrize(
    ("start", "seconds", "end"),
    [
        ("2026-03-02 08:30", 1, "2026-03-02 08:30:01"),
        ("2026-03-02 08:30", 3 * 3600 + 1800, "2026-03-02 12:00"),
        ("2026-03-02 08:30", 3 * 3600 + 1801, "2026-03-02 14:00:01"),
        ("2026-03-02 08:30", FULL_DAY, "2026-03-02 17:30"),
        ("2026-03-02 08:30", FULL_DAY + 1, "2026-03-03 08:30:01"),
        ("2026-03-07 10:00", FULL_DAY, "2026-03-09 17:30"),
        ("2026-03-02 12:00", 0, "2026-03-02 12:00"),
        ("2026-02-13 16:00", 4 * 3600, "2026-02-14 11:00"),
        ("2026-02-14 16:00", 4 * 3600, "2026-02-24 11:00"),
    ],
)
def test_adding_working_seconds(start: str, seconds: int, end: str) -> None:
    assert CALENDAR.add_working(local(start), seconds) == Reckoned(local(end), False)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2026-03-02 00:00", "2026-03-02 17:30"),
        ("2026-03-02 13:00", "2026-03-02 17:30"),
        ("2026-03-02 17:29:59", "2026-03-02 17:30"),
        ("2026-03-02 17:30", "2026-03-03 17:30"),
        ("2026-02-14 18:00", "2026-02-24 17:30"),
        ("2026-02-20 10:00", "2026-02-24 17:30"),
    ],
)
def test_the_end_of_the_working_day_that_contains_or_follows(start: str, end: str) -> None:
    assert CALENDAR.end_of_working_day(local(start)) == Reckoned(local(end), False)


# across a change of hours: from Friday 1 May, a holiday until Tuesday 5 May; Saturday 9 is worked

SEASONS = replace(CALENDAR, changes={OCTOBER: DEFAULT_HOURS, MAY: SUMMER})
SHORTENED = replace(CALENDAR, changes={MAY: SHORT})


@pytest.mark.parametrize(
    ("known", "start", "end", "seconds", "days"),
    [
        (SEASONS, "2026-04-30 17:00", "2026-05-06 09:00", 3600, Fraction(1, 7)),
        (SEASONS, "2026-04-30 13:00", "2026-05-06 14:30", FULL_DAY, Fraction(1)),
        (SEASONS, "2026-05-06 14:00", "2026-05-06 18:00", 3 * 3600 + 1800, Fraction(1, 2)),
        (SEASONS, "2026-09-30 17:30", "2026-10-08 14:00", 4 * 3600, Fraction(4, 7)),
        (SEASONS, "2026-05-06 09:00", "2026-04-30 17:00", 0, Fraction(0)),
        (SHORTENED, "2026-04-30 08:30", "2026-05-06 17:30", 13 * 3600, Fraction(2)),
        (SHORTENED, "2026-04-30 12:00", "2026-05-06 12:00", FULL_DAY, 1 + Fraction(1, 12)),
    ],
)
def test_what_is_worked_across_a_change_of_hours(
    known: Calendar, start: str, end: str, seconds: int, days: Fraction
) -> None:
    assert known.working_seconds(local(start), local(end)) == seconds
    assert known.days_worked(local(start), local(end)) == days


@pytest.mark.parametrize(
    ("known", "start", "days", "end"),
    [
        (SEASONS, "2026-04-30 10:00", 2, "2026-05-07 10:00"),
        (SEASONS, "2026-04-30 15:00", 2, "2026-05-07 15:30"),
        (SEASONS, "2026-04-30 07:00", 2, "2026-05-06 18:00"),
        (SEASONS, "2026-04-30 18:00", 2, "2026-05-07 18:00"),
        (SEASONS, "2026-05-02 10:00", 1, "2026-05-06 18:00"),
        (SEASONS, "2026-09-30 15:30", 1, "2026-10-08 15:00"),
        (SEASONS, "2026-04-30 12:00", 0, "2026-04-30 12:00"),
        (SEASONS, "2026-04-30 08:30", 107, "2026-09-30 18:00"),
        (SEASONS, "2026-04-30 08:30", 108, "2026-10-08 17:30"),
        # half of the day there is half of the day here, where it is shorter as well
        (SHORTENED, "2026-04-30 12:00", 2, "2026-05-07 11:30"),
        (SHORTENED, "2026-04-30 08:30:01", 1, "2026-05-06 08:30:01"),
        (SHORTENED, "2026-04-30 08:30", 3, "2026-05-07 17:30"),
    ],
)
def test_adding_working_days_across_a_change_of_hours(
    known: Calendar, start: str, days: int, end: str
) -> None:
    assert known.add_days_worked(local(start), Fraction(days)) == Reckoned(local(end), False)


@pytest.mark.parametrize(
    ("known", "start", "seconds", "end"),
    [
        (SEASONS, "2026-04-30 17:00", 1800, "2026-04-30 17:30"),
        (SEASONS, "2026-04-30 17:00", 5 * 3600, "2026-05-06 15:30"),
        (SEASONS, "2026-09-30 17:00", FULL_DAY, "2026-10-08 16:30"),
        (SHORTENED, "2026-04-30 08:30", 13 * 3600, "2026-05-06 17:30"),
        (SHORTENED, "2026-04-30 08:30", 13 * 3600 + 1, "2026-05-07 08:30:01"),
    ],
)
def test_adding_working_seconds_across_a_change_of_hours(
    known: Calendar, start: str, seconds: int, end: str
) -> None:
    assert known.add_working(local(start), seconds).at == local(end)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2026-04-30 17:29", "2026-04-30 17:30"),
        ("2026-04-30 17:30", "2026-05-06 17:30"),
        ("2026-05-02 10:00", "2026-05-06 17:30"),
        ("2026-05-06 17:00", "2026-05-06 17:30"),
        ("2026-05-06 17:45", "2026-05-07 17:30"),
    ],
)
def test_the_end_of_the_working_day_about_a_change_of_hours(start: str, end: str) -> None:
    assert SHORTENED.end_of_working_day(local(start)).at == local(end)


@pytest.mark.parametrize(
    ("start", "end", "days", "seconds"),
    [
        ("2026-04-28 08:30", "2026-04-28 12:00", 0, 3.5 * 3600),
        ("2026-04-29 10:00", "2026-05-06 08:30", 1, 5.5 * 3600),
        ("2026-04-30 12:00", "2026-05-06 11:30", 1, 0),
        ("2026-04-30 12:00", "2026-05-06 11:45", 1, 900),
        ("2026-04-30 12:00", "2026-05-06 10:00", 0, 5 * 3600),
        ("2026-05-06 08:30", "2026-05-06 08:30", 0, 0),
        ("2026-04-27 10:00", "2026-04-30 11:00", 3, 3600),
        ("2026-05-06 10:00", "2026-05-09 11:00", 3, 3600),
        ("2026-05-06 11:00", "2026-05-06 10:00", 0, 0),
        ("2026-05-06 11:00", "2026-04-30 10:00", 0, 0),
    ],
)
def test_what_is_worked_is_told_in_days_and_the_time_after_them(
    start: str, end: str, days: int, seconds: float
) -> None:
    assert SHORTENED.worked(local(start), local(end)) == (days, seconds)


def test_a_change_of_hours_leaves_what_was_worked_before_it() -> None:
    before = local("2026-03-02 08:30"), local("2026-05-01 00:00")
    assert SHORTENED.working_seconds(*before) == CALENDAR.working_seconds(*before)
    since = local("2026-05-01 00:00"), local("2026-06-05 18:00")
    shorter = replace(CALENDAR, hours=SHORT)
    assert SHORTENED.working_seconds(*since) == shorter.working_seconds(*since)


def test_hours_that_no_working_day_has_had_change_nothing() -> None:
    holidays = {date(2026, 5, 2): SUMMER, MAY: (Period(0, 1440),), date(2026, 5, 4): SHORT}
    known = replace(CALENDAR, changes=holidays)
    for at in ("2026-04-30 17:30", "2026-05-01 12:00", "2026-05-03 12:00"):
        assert known.end_of_working_day(local(at)).at == local("2026-05-06 17:30")
        assert known.add_working(local(at), 1).at == local("2026-05-06 08:30:01")
    assert known.working_seconds(local("2026-04-30 17:30"), local("2026-05-06 08:30")) == 0


def test_a_day_may_have_one_period_or_be_worked_around_the_clock() -> None:
    nights = replace(CALENDAR, hours=(Period(0, 1440),))
    assert nights.add_working(local("2026-03-02 00:00"), 24 * 3600).at == local("2026-03-03 00:00")
    assert nights.working_seconds(local("2026-03-02 00:00"), local("2026-03-09 00:00")) == 5 * 86400


def test_zones_do_not_matter_and_parts_of_a_second_are_cut() -> None:
    at_eleven = datetime(2026, 3, 2, 3, 0, 0, 999_999, tzinfo=UTC)
    elsewhere = at_eleven.astimezone(timezone(timedelta(hours=-5)))
    for start in (at_eleven, elsewhere):
        reckoned = CALENDAR.add_working(start, 60)
        assert reckoned.at == local("2026-03-02 11:01")
        assert reckoned.at.tzinfo is OFFICE_TIME


def test_a_time_without_zone_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(AssertionError):
        CALENDAR.add_working(datetime(2026, 3, 2), 60)  # noqa: DTZ001 - the mistake itself


# provisional


@pytest.mark.parametrize(
    ("start", "days", "provisional"),
    [
        ("2026-12-18 08:30", 5, False),
        ("2026-12-21 08:30", 6, True),  # the notice for 2027 may move 28 December
        ("2026-12-21 08:30", 15, True),
        ("2027-01-04 08:30", 1, True),
        ("2024-12-31 08:30", 1, True),  # an old year the office never learnt
        ("2025-12-31 08:30", 15, False),
    ],
)
def test_what_touches_an_unpublished_year_is_provisional(
    start: str, days: int, provisional: bool
) -> None:
    assert CALENDAR.add_working(local(start), days * FULL_DAY).provisional is provisional
    assert CALENDAR.end_of_working_day(local("2026-12-28 08:30")).provisional


def test_zero_seconds_are_as_provisional_as_their_day() -> None:
    assert CALENDAR.add_working(local("2027-03-01 08:30"), 0).provisional
    assert not CALENDAR.add_working(local("2026-03-02 08:30"), 0).provisional


def test_publishing_the_year_makes_it_firm() -> None:
    start = local("2026-12-21 08:30")
    assert CALENDAR.add_working(start, 15 * FULL_DAY) == Reckoned(local("2027-01-08 17:30"), True)
    new_year = YearPublished(
        at=AT,
        year=2027,
        holidays=(date(2027, 1, 1), date(2027, 1, 2), date(2027, 1, 3)),
        makeup_days=(),
    )
    firm = calendar.evolve(CALENDAR, new_year)
    assert firm.add_working(start, 15 * FULL_DAY) == Reckoned(local("2027-01-11 17:30"), False)


# properties

instants = st.integers(0, 3 * 365 * 86400).map(
    lambda seconds: local("2025-01-01 00:00") + timedelta(seconds=seconds)
)
spans = st.integers(0, 60 * FULL_DAY)
days = st.dates(date(2025, 1, 1), date(2027, 12, 31))
periods = (
    st.lists(st.integers(0, 1440), min_size=2, max_size=6, unique=True)
    .map(sorted)
    .map(lambda m: tuple(Period(a, b) for a, b in zip(m[::2], m[1::2], strict=False)))
)
hours_of_a_day = st.sampled_from((DEFAULT_HOURS, SUMMER, SHORT)) | periods
calendars = st.builds(
    lambda hours, changes, declared_days: replace(
        CALENDAR, hours=hours, changes=changes, declared=declared_days
    ),
    hours_of_a_day,
    st.just({}) | st.dictionaries(days, hours_of_a_day, max_size=5),
    st.dictionaries(days, st.booleans(), max_size=8),
)
moderate = settings(max_examples=60, deadline=None)


@moderate
@for_all(calendars, instants, spans)
def test_adding_gives_back_what_is_counted(known: Calendar, start: datetime, span: int) -> None:
    end = known.add_working(start, span).at
    assert known.working_seconds(start, end) == span
    # ... and it is the first such instant.
    assert span == 0 or known.working_seconds(start, end - timedelta(seconds=1)) == span - 1


@moderate
@for_all(calendars, instants, instants)
def test_counting_gives_back_what_is_added(known: Calendar, one: datetime, two: datetime) -> None:
    start, end = sorted((one, two))
    worked = known.working_seconds(start, end)
    back = known.add_working(start, worked).at
    assert back <= end
    assert known.working_seconds(back, end) == 0


shares = st.fractions(0, 60, max_denominator=FULL_DAY)
SECOND = timedelta(seconds=1)


@moderate
@for_all(calendars, instants, shares)
def test_adding_days_gives_back_what_is_counted(
    known: Calendar, start: datetime, span: Fraction
) -> None:
    """At the first second by which so much is worked: never before, and not a second after."""
    end = known.add_days_worked(start, span).at
    assert known.days_worked(start, end) >= span
    assert span == 0 or known.days_worked(start, end - SECOND) < span


@moderate
@for_all(calendars, instants, instants)
def test_counting_days_gives_back_what_is_added(
    known: Calendar, one: datetime, two: datetime
) -> None:
    start, end = sorted((one, two))
    worked = known.days_worked(start, end)
    back = known.add_days_worked(start, worked).at
    assert back <= end
    assert known.working_seconds(back, end) == 0


@moderate
@for_all(calendars, st.tuples(instants, instants, instants))
def test_counting_days_is_additive(known: Calendar, three: tuple[datetime, ...]) -> None:
    start, middle, end = sorted(three)
    assert known.days_worked(start, end) == (
        known.days_worked(start, middle) + known.days_worked(middle, end)
    )


@moderate
@for_all(calendars, instants, instants, shares, shares)
def test_adding_days_is_monotone(
    known: Calendar, one: datetime, two: datetime, some: Fraction, more: Fraction
) -> None:
    first, last = min(one, two), max(one, two)
    assert known.add_days_worked(first, some).at <= known.add_days_worked(last, some).at
    assert known.add_days_worked(one, some).at <= known.add_days_worked(one, some + more).at


@moderate
@for_all(calendars, instants, spans)
def test_days_of_the_same_length_are_counted_like_their_seconds(
    known: Calendar, start: datetime, span: int
) -> None:
    known = replace(known, hours=DEFAULT_HOURS, changes={MAY: SUMMER, OCTOBER: DEFAULT_HOURS})
    days = Fraction(span, FULL_DAY)
    assert known.add_days_worked(start, days) == known.add_working(start, span)
    end = start + timedelta(seconds=span)
    assert known.days_worked(start, end) * FULL_DAY == known.working_seconds(start, end)


@moderate
@for_all(calendars, instants, instants)
def test_whole_days_and_what_follows_on_them_are_all_that_is_worked(
    known: Calendar, one: datetime, two: datetime
) -> None:
    start, end = sorted((one, two))
    days, seconds = known.worked(start, end)
    assert days <= known.days_worked(start, end) < days + 1
    rest = known.add_days_worked(start, Fraction(days)).at
    assert seconds == known.working_seconds(rest, end)


@moderate
@for_all(calendars, instants)
def test_a_working_day_ends_where_its_last_period_does(known: Calendar, start: datetime) -> None:
    end = known.end_of_working_day(start).at
    close = known.hours_on((end - SECOND).date())[-1].end
    assert end == local(f"{(end - SECOND).date()} 00:00") + timedelta(minutes=close)
    assert known.days_worked(start, end) <= 1
    assert known.working_seconds(start, end) > 0


@moderate
@for_all(calendars, instants, spans, spans)
def test_adding_is_additive(known: Calendar, start: datetime, one: int, two: int) -> None:
    assert known.add_working(known.add_working(start, one).at, two).at == (
        known.add_working(start, one + two).at
    )


@moderate
@for_all(calendars, st.tuples(instants, instants, instants))
def test_counting_is_additive(known: Calendar, three: tuple[datetime, ...]) -> None:
    start, middle, end = sorted(three)
    assert known.working_seconds(start, end) == (
        known.working_seconds(start, middle) + known.working_seconds(middle, end)
    )


@moderate
@for_all(calendars, instants, instants, spans, spans)
def test_adding_is_monotone(
    known: Calendar, one: datetime, two: datetime, some: int, more: int
) -> None:
    assert known.add_working(min(one, two), some).at <= known.add_working(max(one, two), some).at
    assert known.add_working(one, some).at <= known.add_working(one, some + more).at


@moderate
@for_all(calendars, instants, st.integers(0, 3 * 24))
def test_counting_agrees_with_a_walk_by_the_minute(
    known: Calendar, start: datetime, hours: int
) -> None:
    start = start.replace(second=0)
    worked = 0
    for minute in (start + timedelta(minutes=n) for n in range(hours * 60)):
        since_midnight = minute.hour * 60 + minute.minute
        if any(p.start <= since_midnight < p.end for p in known.hours_on(minute.date())):
            worked += known.is_working_day(minute.date())
    assert known.working_seconds(start, start + timedelta(hours=hours)) == worked * 60


commands = st.one_of(
    st.builds(
        publish,
        st.integers(2025, 2028),
        st.lists(days, max_size=4).map(tuple),
        st.lists(days, max_size=4).map(tuple),
    ),
    st.builds(declare, days, st.booleans()),
    st.builds(
        lambda some, since: set_hours(*some, since=since),
        hours_of_a_day
        | st.lists(st.builds(Period, st.integers(-1, 1441), st.integers(-1, 1441)), max_size=3),
        st.none() | days,
    ),
)


@moderate
@for_all(st.lists(commands, max_size=8), instants)
def test_whatever_is_decided_time_goes_on(script: list[calendar.Command], start: datetime) -> None:
    history: list[calendar.Event] = []
    for command in script:
        result = given(*history).when(command).result
        history += result if isinstance(result, tuple) else ()
    known = given(*history).state
    end = known.add_working(start, FULL_DAY).at
    assert known.working_seconds(start, end) == FULL_DAY
    assert known.days_worked(start, known.add_days_worked(start, Fraction(1)).at) >= 1
    # Said once more, it is so already.
    for since, some in known.changes.items():
        given(*history).when(set_hours(*some, since=since)).then()


def test_what_differs_from_monday_to_friday() -> None:
    off, on = knowing(2026).exceptions
    for ordinal in off:
        day = date.fromordinal(ordinal)
        assert day.weekday() < 5
        assert not knowing(2026).is_working_day(day)
    for ordinal in on:
        day = date.fromordinal(ordinal)
        assert day.weekday() >= 5
        assert knowing(2026).is_working_day(day)
    assert off
    assert on


def test_the_spans_within_which_nothing_is_provisional() -> None:
    known = replace(CALENDAR, years=dict.fromkeys((2020, 2022, 2023), CALENDAR.years[2026]))
    assert known.settled() == [
        (local("2020-01-01 00:00"), local("2020-12-28 00:00")),
        (local("2022-01-01 00:00"), local("2023-12-28 00:00")),
    ]
    assert calendar.initial.settled() == []


@moderate
@for_all(st.sets(st.integers(2024, 2027), max_size=4), instants, spans)
def test_a_span_is_provisional_unless_it_is_settled(
    years: set[int], start: datetime, seconds: int
) -> None:
    known = replace(CALENDAR, years=dict.fromkeys(years, CALENDAR.years[2026]))
    end = start + timedelta(seconds=seconds)
    settled = any(begin <= start and end < until for begin, until in known.settled())
    assert known.is_provisional(start, end) is not settled

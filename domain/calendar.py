"""The working calendar (工作日历): when the office works, and how time limits run on it.

The State Council publishes the holidays and make-up working days (调休) of one year at a time, so
years come in as events. A year that is not published yet is taken as plain Monday to Friday, and
whatever is reckoned with it says so (暂定): it is recomputed when the schedule is there.

Many offices change their hours twice a year (夏季作息, 冬季作息): hours hold from a day on, known
ahead, and what was worked before that day stays what it was.

All instants are taken at whole seconds, in the office's time zone.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from fractions import Fraction
from itertools import pairwise
from math import ceil
from typing import Final, NamedTuple, assert_never
from zoneinfo import ZoneInfo

from domain.errors import Refused
from domain.places import EVERYWHERE
from domain.roles import Actor, demand

STREAM: Final = "calendar"
OFFICE_TIME: Final = ZoneInfo("Asia/Shanghai")

FIRST_YEAR: Final = 1949
LAST_YEAR: Final = 2999

MINUTES_A_DAY: Final = 24 * 60


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """Working time within a day, from ``start`` until ``end``, in minutes since midnight."""

    start: int
    end: int

    @property
    def seconds(self) -> int:
        """How long it is, in seconds."""
        return (self.end - self.start) * 60


DEFAULT_HOURS: Final = (Period(8 * 60 + 30, 12 * 60), Period(14 * 60, 17 * 60 + 30))


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishYear:
    """Take in the schedule of a year, as the State Council publishes it.

    Days are given as the notice gives them: holidays may fall on weekends, and the days around New
    Year may be those of the December before.
    """

    by: Actor
    at: datetime
    year: int
    holidays: tuple[date, ...]
    makeup_days: tuple[date, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclareDay:
    """Let the office work, or not, on one day, whatever the schedule says (a typhoon, a feast)."""

    by: Actor
    at: datetime
    day: date
    working: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetWorkingHours:
    """Change the hours of every working day from ``since`` on, until a later change that is known.

    Without ``since`` they hold for all time, in place of all hours that were ever set: for an
    office that has never had others. Past time is then reckoned by them as well.
    """

    by: Actor
    at: datetime
    periods: tuple[Period, ...]
    since: date | None = None


Command = PublishYear | DeclareDay | SetWorkingHours


@dataclass(frozen=True, slots=True, kw_only=True)
class YearPublished:
    """The schedule of a year, days in order; it replaces what was published of that year before."""

    at: datetime
    year: int
    holidays: tuple[date, ...]
    makeup_days: tuple[date, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DayDeclared:
    """One day works, or does not, by the office's own decision; no schedule changes it.

    ``reason`` is a notice to everybody (a typhoon, a feast): it stands in clear.
    """

    at: datetime
    day: date
    working: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkingHoursSet:
    """Every working day has these hours, in order, for all time: no change of hours is left."""

    at: datetime
    periods: tuple[Period, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkingHoursChanged:
    """Working days have these hours, in order, from ``since`` on until the next change.

    It replaces what was set for that very day; changes to other days stay.
    """

    at: datetime
    since: date
    periods: tuple[Period, ...]


Event = YearPublished | DayDeclared | WorkingHoursSet | WorkingHoursChanged


@dataclass(frozen=True, slots=True)
class Reckoned:
    """An instant in office time, ``provisional`` (暂定) if a year it needs is not published."""

    at: datetime
    provisional: bool


class Worked(NamedTuple):
    """Working time as people count it: whole working days, each by its own hours, and seconds."""

    days: int
    seconds: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """What is published for one year."""

    holidays: tuple[date, ...]
    makeup_days: tuple[date, ...]


@dataclass(frozen=True, slots=True)
class Era:
    """The days with the same hours: from ``first``, an ordinal, until the next era begins.

    Before it lie ``days_before`` working days, and ``seconds_before`` of working time.
    """

    first: int
    periods: tuple[Period, ...]
    days_before: int
    seconds_before: int

    @property
    def day_seconds(self) -> int:
        """Seconds in a full working day."""
        return sum(period.seconds for period in self.periods)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """The office's working time, and arithmetic on it.

    Working days are counted, not walked: Monday to Friday by division, then corrected by the days
    that differ. So a limit of years costs what one of hours costs, and nothing can loop for ever.
    The few changes of hours are walked once, when the calendar is made.

    ``hours`` hold until the first day of ``changes``, each of which holds until the next.
    """

    hours: tuple[Period, ...] = DEFAULT_HOURS
    changes: Mapping[date, tuple[Period, ...]] = field(default_factory=dict)
    years: Mapping[int, Schedule] = field(default_factory=dict)
    declared: Mapping[date, bool] = field(default_factory=dict)

    # The same in order, the first era from the beginning of time.
    eras: tuple[Era, ...] = field(init=False, repr=False, compare=False)
    # The days that differ from Monday to Friday, as ordinals in order.
    _off: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _on: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        known: dict[date, bool] = {}
        # In the order of years: where two schedules name the same day of December, the later wins.
        for _, schedule in sorted(self.years.items(), key=lambda item: item[0]):
            known |= dict.fromkeys(schedule.holidays, False)
            known |= dict.fromkeys(schedule.makeup_days, True)
        known |= self.declared
        off = sorted(day.toordinal() for day, on in known.items() if _weekday(day) and not on)
        on = sorted(day.toordinal() for day, on in known.items() if on and not _weekday(day))
        object.__setattr__(self, "_off", tuple(off))
        object.__setattr__(self, "_on", tuple(on))
        eras = [Era(date.min.toordinal(), self.hours, 0, 0)]
        for since, periods in sorted(self.changes.items()):
            first, last = since.toordinal(), eras[-1]
            days = self._days_before(first)
            worked = last.seconds_before + (days - last.days_before) * last.day_seconds
            eras.append(Era(first, periods, days, worked))
        object.__setattr__(self, "eras", tuple(eras))

    @property
    def exceptions(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """What differs from Monday to Friday: the weekdays off and the weekend days at work, as
        ordinals in order. For reckoning elsewhere what ``working_seconds`` reckons here."""
        return self._off, self._on

    def is_working_day(self, day: date) -> bool:
        """Whether the office works on a day; by Monday to Friday where its year is unpublished."""
        return self.working_days(day, day + timedelta(days=1)) == 1

    def hours_on(self, day: date) -> tuple[Period, ...]:
        """The hours that a day has if the office works on it."""
        return self._era(day.toordinal()).periods

    def working_days(self, start: date, end: date) -> int:
        """How many days the office works from ``start`` until, without it, ``end``."""
        return self._days_before(end.toordinal()) - self._days_before(start.toordinal())

    def is_provisional(self, start: datetime, end: datetime) -> bool:
        """Whether a day from ``start`` to ``end`` belongs to a schedule that is not published."""
        first, last = office_time(start).date(), office_time(end).date()
        # The notice for a year also moves days just before New Year: these stay open until then.
        last_year = last.year + (last >= _year_end(last.year))
        return any(year not in self.years for year in range(first.year, last_year + 1))

    def settled(self) -> list[tuple[datetime, datetime]]:
        """The spans, from an instant until before another, within which nothing is provisional."""
        runs: list[list[int]] = []
        for year in sorted(self.years):
            if runs and runs[-1][-1] == year - 1:
                runs[-1].append(year)
            else:
                runs.append([year])
        return [(_midnight(date(run[0], 1, 1)), _midnight(_year_end(run[-1]))) for run in runs]

    def working_seconds(self, start: datetime, end: datetime) -> int:
        """Working seconds from ``start`` to ``end``, both aware; 0 when ``end`` is not later."""
        return max(
            self._worked_before(office_time(end)) - self._worked_before(office_time(start)), 0
        )

    def days_worked(self, start: datetime, end: datetime) -> Fraction:
        """The same in working days, whatever hours each has: half of its time is half a day."""
        era, days, seconds = self._point(office_time(start))
        until, more_days, more = self._point(office_time(end))
        one, other = era.day_seconds, until.day_seconds
        run = (more_days - days) * one * other + more * one - seconds * other
        return Fraction(max(run, 0), one * other)

    def worked(self, start: datetime, end: datetime) -> Worked:
        """The same in whole working days, and the working seconds that follow on them."""
        begin, last = office_time(start), office_time(end)
        era = self._era(last.toordinal())
        if era.first <= begin.toordinal():  # the short way, for lists: all days are of one length
            return Worked(*divmod(self.working_seconds(begin, last), era.day_seconds))
        days = int(self.days_worked(begin, last))
        rest = self.add_days_worked(begin, Fraction(days)).at
        return Worked(days, self.working_seconds(rest, last))

    def add_working(self, start: datetime, seconds: int) -> Reckoned:
        """The first instant by which that many working seconds have passed since ``start``.

        So a limit that is used up with the working day ends at its close, not at the next opening,
        and zero seconds end where they start, also outside working hours.
        """
        assert seconds >= 0, seconds
        begin = office_time(start)
        if seconds == 0:
            return Reckoned(begin, self.is_provisional(begin, begin))
        total = self._worked_before(begin) + seconds
        era = self._era_working(total - 1)
        days, rest = divmod(total - 1 - era.seconds_before, era.day_seconds)
        day = self._nth_working_day(era.days_before + days, begin.toordinal())
        return self._reckoned(begin, day, rest + 1)

    def add_days_worked(self, start: datetime, days: Fraction) -> Reckoned:
        """The first second by which that many working days have passed since ``start``.

        So many days later at the same point of the day's working time. Where hours have changed
        meanwhile it is the point by which the same share of the day is worked.
        """
        assert days >= 0, days
        begin = office_time(start)
        if days == 0:
            return Reckoned(begin, self.is_provisional(begin, begin))
        era, full, seconds = self._point(begin)
        total = full + Fraction(seconds, era.day_seconds) + days
        whole = ceil(total) - 1
        day = self._nth_working_day(whole, begin.toordinal())
        return self._reckoned(begin, day, ceil((total - whole) * self._era(day).day_seconds))

    def end_of_working_day(self, start: datetime) -> Reckoned:
        """The close of the working day that contains ``start``, or follows where it is over."""
        worked = self._worked_before(office_time(start))
        era = self._era_working(worked)
        day = era.day_seconds
        return self.add_working(start, day - (worked - era.seconds_before) % day)

    def _era(self, ordinal: int) -> Era:
        """The era that a day belongs to."""
        return self.eras[bisect_right(self.eras, ordinal, key=lambda era: era.first) - 1]

    def _era_working(self, worked: int) -> Era:
        """The era that works on when so many seconds are worked."""
        return self.eras[bisect_right(self.eras, worked, key=lambda era: era.seconds_before) - 1]

    def _days_before(self, ordinal: int) -> int:
        weeks, rest = divmod(ordinal - 1, 7)  # day 1 was a Monday
        weekdays = 5 * weeks + min(rest, 5)
        return weekdays - bisect_left(self._off, ordinal) + bisect_left(self._on, ordinal)

    def _worked_before(self, local: datetime) -> int:
        """Working seconds from the beginning of time: what makes sums and differences agree."""
        era, days, today = self._point(local)
        return era.seconds_before + (days - era.days_before) * era.day_seconds + today

    def _point(self, local: datetime) -> tuple[Era, int, int]:
        """The era of a day, the working days before it, and the seconds of it that are worked."""
        ordinal = local.toordinal()
        era, days = self._era(ordinal), self._days_before(ordinal)
        if self._days_before(ordinal + 1) == days:
            return era, days, 0
        second = local.hour * 3600 + local.minute * 60 + local.second
        today = sum(min(max(second - p.start * 60, 0), p.seconds) for p in era.periods)
        return era, days, today

    def _nth_working_day(self, count: int, since: int) -> int:
        """The day, not before ``since``, that has ``count`` working days before it; as ordinals."""
        wanted = count - self._days_before(since)
        # So many weeks hold enough weekdays even if every day off that is known fell into them.
        off = len(self._off) - bisect_left(self._off, since)
        reach = 7 * ((wanted + off) // 5 + 1)
        later = range(since + 1, since + reach + 1)
        return since + bisect_right(later, count, key=self._days_before)

    def _reckoned(self, begin: datetime, ordinal: int, worked: int) -> Reckoned:
        """The instant on a working day by which that many seconds of it are worked."""
        periods = self._era(ordinal).periods
        second = periods[0].start * 60 + worked
        before = 0
        for earlier, later in pairwise(periods):
            before += earlier.seconds
            if worked > before:
                second += (later.start - earlier.end) * 60
        end = _midnight(date.fromordinal(ordinal)) + timedelta(seconds=second)
        return Reckoned(end, self.is_provisional(begin, end))


initial: Final = Calendar()


def office_time(at: datetime) -> datetime:
    """An aware instant in the office's time zone, at whole seconds."""
    if at.tzinfo is OFFICE_TIME and not at.microsecond:
        return at
    assert at.tzinfo is not None, at
    return at.astimezone(OFFICE_TIME).replace(microsecond=0)


def told_time(at: datetime) -> str:
    """An instant as people are told it: in office time, to the second, which no spreadsheet
    rounds."""
    return f"{office_time(at):%Y-%m-%d %H:%M:%S}"


def decide(calendar: Calendar, command: Command) -> list[Event]:
    """What happens next. What is known already happens not again.

    Raises:
        Refused: ``role.not_permitted``, ``calendar.bad_year``, ``calendar.day_outside``,
            ``calendar.day_twice``, ``calendar.reason_missing``, ``calendar.bad_hours``,
            ``calendar.no_hours``.
    """
    demand(command, EVERYWHERE)
    match command:
        case PublishYear(year=year):
            schedule = _schedule(command)
            if calendar.years.get(year) == schedule:
                return []
            published = YearPublished(
                at=command.at,
                year=year,
                holidays=schedule.holidays,
                makeup_days=schedule.makeup_days,
            )
            _demand_working_day(evolve(calendar, published), year)
            return [published]
        case DeclareDay(day=day, working=working):
            if not command.reason.strip():
                raise Refused("calendar.reason_missing")
            if not FIRST_YEAR <= day.year <= LAST_YEAR:
                raise Refused("calendar.bad_year", year=day.year)
            if calendar.declared.get(day) is working:
                return []
            declared = DayDeclared(at=command.at, day=day, working=working, reason=command.reason)
            _demand_working_day(evolve(calendar, declared), day.year)
            return [declared]
        case SetWorkingHours(since=date() as since):
            periods = _hours(command)
            if not FIRST_YEAR <= since.year <= LAST_YEAR:
                raise Refused("calendar.bad_year", year=since.year)
            # The hours of the day before are news, too: they end a change that is set for an
            # earlier day, be it later on.
            if calendar.changes.get(since) == periods:
                return []
            return [WorkingHoursChanged(at=command.at, since=since, periods=periods)]
        case SetWorkingHours():
            periods = _hours(command)
            if periods == calendar.hours and not calendar.changes:
                return []
            return [WorkingHoursSet(at=command.at, periods=periods)]
        case _:
            assert_never(command)


def evolve(calendar: Calendar, event: Event) -> Calendar:
    """The calendar after an event."""
    match event:
        case YearPublished(year=year, holidays=holidays, makeup_days=makeup_days):
            schedule = Schedule(holidays, makeup_days)
            return replace(calendar, years={**calendar.years, year: schedule})
        case DayDeclared(day=day, working=working):
            return replace(calendar, declared={**calendar.declared, day: working})
        case WorkingHoursSet(periods=periods):
            return replace(calendar, hours=periods, changes={})
        case WorkingHoursChanged(since=since, periods=periods):
            return replace(calendar, changes={**calendar.changes, since: periods})
        case _:
            assert_never(event)


def _schedule(command: PublishYear) -> Schedule:
    """The days of a notice in order, each once."""
    year = command.year
    if not FIRST_YEAR <= year <= LAST_YEAR:
        raise Refused("calendar.bad_year", year=year)
    holidays, makeup_days = set(command.holidays), set(command.makeup_days)
    for day in sorted(holidays | makeup_days):
        if not _year_end(year - 1) <= day <= date(year, 12, 31):
            raise Refused("calendar.day_outside", day=day, year=year)
        if day in holidays and day in makeup_days:
            raise Refused("calendar.day_twice", day=day)
    return Schedule(tuple(sorted(holidays)), tuple(sorted(makeup_days)))


def _hours(command: SetWorkingHours) -> tuple[Period, ...]:
    """The periods of a day in order."""
    periods = tuple(sorted(command.periods))
    if not periods:
        raise Refused("calendar.no_hours")
    if any(not 0 <= period.start < period.end <= MINUTES_A_DAY for period in periods):
        raise Refused("calendar.bad_hours")
    if any(earlier.end > later.start for earlier, later in pairwise(periods)):
        raise Refused("calendar.bad_hours")
    return periods


def _demand_working_day(calendar: Calendar, year: int) -> None:
    """A year without any working day is a slip, and would push every due out of sight."""
    first, next_first = date(year, 1, 1), date(year + 1, 1, 1)
    if calendar.working_days(first, next_first) == 0:
        raise Refused("calendar.no_hours")


def _year_end(year: int) -> date:
    # The earliest day that a notice for the next year has moved was 29 December (2007, 2018).
    return date(year, 12, 28)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), OFFICE_TIME)


def _weekday(day: date) -> bool:
    return day.weekday() < 5

"""The catalogue (事项清单): kinds of matters with their rules, and the policy of the office.

A case takes a frozen copy of its category's rules when it is filed (``Terms``), so that no later
change reaches it. ``SEED`` is what a new office begins with.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, assert_never

from domain.errors import Refused
from domain.places import EVERYWHERE, Tier, is_id
from domain.roles import Actor, demand
from domain.sla import Limit, Sla, Unit

STREAM: Final = "catalogue"


class Size(StrEnum):
    """How big a matter is at first filing."""

    SMALL = "small"  # 小事
    BIG = "big"  # 大事


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Limits that hold for the whole office, whatever the category."""

    returns_per_case: int = 2  # then the upper tier keeps it (兜底)
    transfers_per_episode: int = 5
    park_cap_days: int = 90  # calendar days, all pauses of an episode together
    extensions: int = 2  # per episode
    reopen_window_days: int = 30  # calendar days from closing
    callback_window_days: int = 30  # calendar days from closing
    callback_attempts: int = 3  # then the resident counts as unreached


@dataclass(frozen=True, slots=True, kw_only=True)
class Category:
    """One kind of matter with its rules. ``version`` counts the rules of this category from 1."""

    code: str
    name_zh: str
    name_en: str
    size: Size
    limit: Limit | None  # None: no deadline (a project sets its own)
    contact: Limit | None  # until the handler's first contact; None: no limit
    urgent: bool
    mandated_up: bool  # must by rule go up directly, so that no grid or community can contain it
    start_tier: Tier  # where it is handled first
    version: int
    active: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DefineCategory:
    """Add a category, change its rules, or bring a retired one back.

    Without ``start_tier`` a small matter starts at the grid, a big one at the community.
    """

    by: Actor
    at: datetime
    code: str
    name_zh: str
    name_en: str
    size: Size
    limit: Limit | None
    contact: Limit | None
    urgent: bool = False
    mandated_up: bool = False
    start_tier: Tier | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetireCategory:
    """No new case is filed in this category any more; those that are keep their rules."""

    by: Actor
    at: datetime
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPolicy:
    """Change the office-wide limits, all at once."""

    by: Actor
    at: datetime
    policy: Policy


LONGEST_AHEAD: Final = 720
"""Hours: no reminder comes more than 30 days ahead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetReminder:
    """Say how many hours ahead of its due a case is reminded of; 0: never.

    It holds at once, for open cases too: a reminder is a service, not a term that a case was
    promised. One that has little time is reminded of when half of it is gone.
    """

    by: Actor
    at: datetime
    hours: int


Command = DefineCategory | RetireCategory | SetPolicy | SetReminder


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryDefined:
    """A category has these rules for cases filed from now on."""

    at: datetime
    category: Category


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryRetired:
    """A category takes no new cases."""

    at: datetime
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySet:
    """These office-wide limits hold for cases filed from now on."""

    at: datetime
    policy: Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class ReminderSet:
    """Cases are reminded of so many hours ahead of their due; 0: never."""

    at: datetime
    hours: int


Event = CategoryDefined | CategoryRetired | PolicySet | ReminderSet


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The rules a case takes at filing and keeps: its category's, and the office's."""

    category: str
    name_zh: str
    name_en: str
    size: Size
    urgent: bool = False
    mandated_up: bool
    start_tier: Tier
    sla: Sla
    policy: Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """All categories, retired ones too, and the policy in force; ``reminder_hours`` ahead."""

    categories: Mapping[str, Category] = field(default_factory=dict)
    policy: Policy = Policy()
    reminder_hours: int = 24

    @property
    def ahead(self) -> timedelta:
        """How long ahead of its due a case is reminded of; nothing: never."""
        return timedelta(hours=self.reminder_hours)

    def category(self, code: str) -> Category:
        """A category that takes cases.

        Raises:
            Refused: ``catalogue.unknown_category``, ``catalogue.retired``.
        """
        category = self.categories.get(code)
        if category is None:
            raise Refused("catalogue.unknown_category", category=code)
        if not category.active:
            raise Refused("catalogue.retired", category=code)
        return category

    def terms(self, code: str) -> Terms:
        """The rules that a case filed now takes.

        Raises:
            Refused: ``catalogue.unknown_category``, ``catalogue.retired``.
        """
        category = self.category(code)
        return Terms(
            category=category.code,
            name_zh=category.name_zh,
            name_en=category.name_en,
            size=category.size,
            urgent=category.urgent,
            mandated_up=category.mandated_up,
            start_tier=category.start_tier,
            sla=Sla(
                version=category.version,
                limit=category.limit,
                contact=category.contact,
                park_cap_days=self.policy.park_cap_days,
                extensions=self.policy.extensions,
            ),
            policy=self.policy,
        )


initial: Final = Catalogue()


def decide(catalogue: Catalogue, command: Command) -> list[Event]:
    """What happens next. What is in force already happens not again.

    Raises:
        Refused: ``role.not_permitted``, ``catalogue.bad_code``, ``catalogue.name_missing``,
            ``catalogue.bad_limit``, ``catalogue.unknown_category``, ``catalogue.retired``,
            ``catalogue.bad_policy``, ``catalogue.bad_reminder``.
    """
    demand(command, EVERYWHERE)
    match command:
        case DefineCategory():
            category = _category(command)
            known = catalogue.categories.get(category.code)
            if known is None:
                return [CategoryDefined(at=command.at, category=category)]
            if replace(known, version=category.version) == category:
                return []
            newer = replace(category, version=known.version + 1)
            return [CategoryDefined(at=command.at, category=newer)]
        case RetireCategory(code=code):
            return [CategoryRetired(at=command.at, code=catalogue.category(code).code)]
        case SetPolicy(policy=policy):
            _demand_sensible(policy)
            return [] if policy == catalogue.policy else [PolicySet(at=command.at, policy=policy)]
        case SetReminder(hours=hours):
            if not 0 <= hours <= LONGEST_AHEAD:
                raise Refused("catalogue.bad_reminder", most=LONGEST_AHEAD)
            if hours == catalogue.reminder_hours:
                return []
            return [ReminderSet(at=command.at, hours=hours)]
        case _:
            assert_never(command)


def evolve(catalogue: Catalogue, event: Event) -> Catalogue:
    """The catalogue after an event."""
    match event:
        case CategoryDefined(category=category):
            return replace(catalogue, categories={**catalogue.categories, category.code: category})
        case CategoryRetired(code=code):
            retired = replace(catalogue.categories[code], active=False)
            return replace(catalogue, categories={**catalogue.categories, code: retired})
        case PolicySet(policy=policy):
            return replace(catalogue, policy=policy)
        case ReminderSet(hours=hours):
            return replace(catalogue, reminder_hours=hours)
        case _:
            assert_never(event)


def _category(command: DefineCategory) -> Category:
    """The first version of what a command defines."""
    if not is_id(command.code):
        raise Refused("catalogue.bad_code", category=command.code)
    if not (command.name_zh.strip() and command.name_en.strip()):
        raise Refused("catalogue.name_missing", category=command.code)
    if any(limit and not limit.is_sensible for limit in (command.limit, command.contact)):
        raise Refused("catalogue.bad_limit", category=command.code)
    return Category(
        code=command.code,
        name_zh=command.name_zh.strip(),
        name_en=command.name_en.strip(),
        size=command.size,
        limit=command.limit,
        contact=command.contact,
        urgent=command.urgent,
        mandated_up=command.mandated_up,
        start_tier=command.start_tier or _START[command.size],
        version=1,
        active=True,
    )


def _demand_sensible(policy: Policy) -> None:
    """A policy counts from 0; one attempt at least must be made to reach the resident."""
    for each in fields(policy):
        least = 1 if each.name == "callback_attempts" else 0
        if getattr(policy, each.name) < least:
            raise Refused("catalogue.bad_policy", field=each.name)


_START: Final = {Size.SMALL: Tier.GRID, Size.BIG: Tier.COMMUNITY}


def _wh(hours: int) -> Limit:
    return Limit(hours, Unit.WORKING_HOUR)


def _wd(days: int) -> Limit:
    return Limit(days, Unit.WORKING_DAY)


def _h(hours: int) -> Limit:
    return Limit(hours, Unit.HOUR)


def _d(days: int) -> Limit:
    return Limit(days, Unit.DAY)


_SAME_DAY: Final = Limit(1, Unit.SAME_DAY)

# How soon the resident hears from somebody.
_URGENT: Final = _h(2)
_UTILITY: Final = _h(24)
_ORDINARY: Final = _d(7)
_COMPLEX: Final = _d(15)


def _seed(
    size: Size,
    code: str,
    name_zh: str,
    name_en: str,
    limit: Limit | None,
    contact: Limit,
    urgent: bool = False,
) -> Category:
    return Category(
        code=code,
        name_zh=name_zh,
        name_en=name_en,
        size=size,
        limit=limit,
        contact=contact,
        urgent=urgent,
        mandated_up=False,
        start_tier=_START[size],
        version=1,
        active=True,
    )


def _small(
    code: str, zh: str, en: str, limit: Limit, contact: Limit = _ORDINARY, urgent: bool = False
) -> Category:
    return _seed(Size.SMALL, code, zh, en, limit, contact, urgent)


def _big(code: str, zh: str, en: str, limit: Limit | None, contact: Limit = _COMPLEX) -> Category:
    return _seed(Size.BIG, code, zh, en, limit, contact)


SEED: Final = (
    _small("exposed_garbage", "暴露垃圾", "Exposed garbage", _wh(4)),
    _small("dirty_road", "道路不洁", "Dirty road", _wh(5)),
    _small("construction_waste", "建筑垃圾", "Construction waste", _wh(4)),
    _small("muck", "渣土", "Muck and spoil", _wd(2)),
    _small("green_space_cleaning", "绿地保洁", "Green space cleaning", _wh(4)),
    _small("green_space_upkeep", "绿地养护", "Green space upkeep", _wd(5)),
    _small("road_flooding", "路面积水", "Water standing on the road", _wh(4)),
    _small("neighbour_dispute", "邻里纠纷", "Dispute among neighbours", _d(7)),
    _small("corridor_clutter", "楼道堆物", "Clutter in the stairwell", _d(1)),
    _small("noise", "噪音", "Noise", _d(1)),
    _small("street_light", "路灯", "Street light", _wd(2)),
    _small("missing_manhole_cover", "井盖缺失", "Missing manhole cover", _h(2), _URGENT, True),
    _small("errand_service", "代办", "Errand for a resident", _d(3)),
    _small("consultation", "咨询", "Question", _SAME_DAY),
    _big("illegal_construction", "违法搭建", "Illegal construction", _wd(15)),
    _big("dirty_water", "水域不洁", "Dirty water", _wd(15)),
    _big("property_dispute", "物业/业委会纠纷", "Dispute with property management", _d(15)),
    _big("lift_renewal", "电梯更新", "Lift renewal", _d(15)),
    _big("water_or_gas_cut", "停水停气", "Water or gas cut off", _h(24), _UTILITY),
    _big("fire_hazard", "消防隐患", "Fire hazard", _h(24), _UTILITY),
    _big("wage_arrears", "欠薪", "Unpaid wages", _d(15)),
    _big("cooking_fumes", "油烟扰民", "Cooking fumes", _d(7), _ORDINARY),
    _big("petition_backlog", "信访积案", "Long-standing petition", None),
)
"""What a new office begins with. None is mandated upward: which are is for each office to say."""


def set_up(by: Actor, at: datetime) -> tuple[DefineCategory, ...]:
    """The commands that fill an empty catalogue with the seed; given again, they change nothing."""
    return tuple(
        DefineCategory(
            by=by,
            at=at,
            code=each.code,
            name_zh=each.name_zh,
            name_en=each.name_en,
            size=each.size,
            limit=each.limit,
            contact=each.contact,
            urgent=each.urgent,
            mandated_up=each.mandated_up,
            start_tier=each.start_tier,
        )
        for each in SEED
    )

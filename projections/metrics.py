"""All metrics, each with its figures (domain words: 指标)."""

from typing import Final

from domain.case.commands import EscalationReason
from domain.places import Tier
from projections.containment import bits
from projections.measures import Figure, Metric, Paired, Rows
from projections.quality import FOLLOW_UP_DAYS, NEAR_METRES, REPEAT_DAYS
from projections.timeliness import LATE_BY

BIG_WEIGHT: Final = 3
"""What a big matter weighs in the caseload, where a small one weighs 1."""

_GONE: Final = {
    "void": "kind = 'dropped' AND dropped = 'void'",
    "merged": "kind = 'dropped' AND dropped = 'merged'",
}


def _dropped(daily: str) -> Rows:
    return Rows(kind="dropped", at="filed_at", where="true", dropped=True, daily=daily)


# --- 1, 2: did a matter stay where it belongs ---


def _contained(
    name: str, zh: str, en: str, tier: Tier, among: str, whom: tuple[str, str]
) -> Figure:
    zh_tier, en_tier = {1: ("网格", "the grid"), 2: ("社区", "the community")}[tier]
    return Figure(
        name=name,
        zh=zh,
        en=en,
        formula_zh=f"期内结案、结果为已解决、最高层级不高于{zh_tier}的{whom[0]} ÷ "
        f"期内结案的{whom[0]};"
        "作废、不予立案、并案和按规定须直接上报的除外。上报后退回的不算。",
        formula_en=f"{whom[1]} closed as resolved in the window that never went above {en_tier} ÷ "
        "those closed in the window; void, rejected, merged and those that must by rule go up are "
        "left out. What went up and came back does not count.",
        among=among,
        of="kind = 'closed' AND NOT mandated",
        counts="kind = 'closed' AND NOT mandated AND outcome = 'resolved'"
        f" AND highest <= {int(tier)}",
        excluded={**_GONE, "mandated_up": "kind = 'closed' AND mandated"},
    )


CONTAINMENT: Final = Metric(
    name="containment",
    zh="小事不出网格、大事不出社区",
    en="Containment",
    model="containment",
    table="cases",
    marks={
        name: name for name in ("size", "intake", "mandated", "outcome", "highest", "dropped")
    },
    rows=(
        Rows(
            kind="closed",
            at="closed_at",
            where="closed_at IS NOT NULL",
            daily="closed_daily",
        ),
        _dropped("dropped_daily"),
    ),
    figures=(
        _contained(
            "grid_small", "小事不出网格率", "Grid containment of small matters", Tier.GRID,
            "intake = 1 AND size = 'small'",
            ("网格受理小事", "Small cases taken in at the grid"),
        ),
        _contained(
            "grid_all", "不出网格率（全部）", "Grid containment of all sizes", Tier.GRID,
            "intake = 1",
            ("网格受理事项", "Cases taken in at the grid"),
        ),
        _contained(
            "community_big", "大事不出社区率", "Community containment of big matters",
            Tier.COMMUNITY, "size = 'big'", ("大事", "Big cases"),
        ),
        _contained(
            "community_small", "小事不出社区率", "Community containment of small matters",
            Tier.COMMUNITY, "size = 'small'", ("小事", "Small cases"),
        ),
        _contained(
            "community_all", "不出社区率（全部）", "Community containment of all sizes",
            Tier.COMMUNITY, "true", ("事项", "Cases"),
        ),
    ),
)  # fmt: skip


# --- 7, 8: how cases move between the tiers ---

_TIERS: Final = {
    Tier.GRID: ("网格", "the grid"),
    Tier.COMMUNITY: ("社区", "the community"),
    Tier.SUBDISTRICT: ("街道", "the subdistrict"),
    Tier.DISTRICT: ("区县", "the district"),
}
_BECAUSE: Final = {
    EscalationReason.BEYOND_AUTHORITY: ("超出权限", "beyond authority"),
    EscalationReason.RESOURCES: ("力量不足", "lack of resources"),
    EscalationReason.CROSS_GRID: ("跨网格", "crossing grids"),
    EscalationReason.CROSS_DEPARTMENT: ("跨部门", "crossing departments"),
    EscalationReason.SAFETY: ("安全", "safety"),
    EscalationReason.SLA_BREACH: ("超期", "a missed due"),
    EscalationReason.RESIDENT_APPEAL: ("居民要求", "the resident's appeal"),
    EscalationReason.REPEAT: ("重复发生", "being a repeat"),
}


def _went_up(tier: Tier, reason: EscalationReason | None = None) -> Figure:
    zh, en = _TIERS[tier]
    because_zh, because_en = _BECAUSE[reason] if reason else ("", "")
    return Figure(
        name=f"from_{tier.word}" + (f"_{reason.value}" if reason else ""),
        zh=f"{zh}上报率" + (f"({because_zh})" if reason else ""),
        en=f"Escalation from {en}" + (f", for {because_en}" if reason else ""),
        formula_zh=f"期内立案、从{zh}"
        + (f"因{because_zh}" if reason else "")
        + f"上报过的事项 ÷ 期内立案、到过{zh}的事项。",
        formula_en=f"Cases filed in the window that went up from {en}"
        + (f" for {because_en}" if reason else "")
        + f" ÷ those that were ever at {en}.",
        of=f"kind = 'filed' AND entered & {1 << (tier - 1)} <> 0",
        counts=f"kind = 'filed' AND went_up & {bits(tier, reason)} <> 0",
        excluded=_GONE,
    )


def _share(name: str, zh: str, en: str, counts: str) -> Figure:
    return Figure(
        name=name,
        zh=f"{zh}的占比",
        en=f"Share of {en}",
        formula_zh=f"期内立案、{zh}的事项 ÷ 期内立案的事项。",
        formula_en=f"Cases filed in the window: {en} ÷ all.",
        of="kind = 'filed'",
        counts=f"kind = 'filed' AND {counts}",
        excluded=_GONE,
    )


FLOW: Final = Metric(
    name="flow",
    zh="上报与下派",
    en="Flow between the tiers",
    model="containment",
    table="cases",
    marks={
        name: name
        for name in ("highest", "entered", "went_up", "ups", "downs", "reopened", "dropped")
    },
    rows=(
        Rows(kind="filed", at="filed_at", where="true", daily="filed_daily"),
        _dropped("flow_dropped_daily"),
    ),
    figures=(
        *(
            _went_up(tier, reason)
            for tier in (Tier.GRID, Tier.COMMUNITY, Tier.SUBDISTRICT)
            for reason in (None, *EscalationReason)
        ),
        Figure(
            name="return_rate",
            zh="退回率",
            en="Return-down rate",
            formula_zh="期内立案事项的下派次数 ÷ 上报次数。",
            formula_en="Moves down ÷ moves up, of the cases filed in the window.",
            of="kind = 'filed'",
            counts="kind = 'filed'",
            times="downs",
            of_times="ups",
            excluded=_GONE,
        ),
        _share("ping_pong", "变动四次以上", "those with four moves or more", "ups + downs >= 4"),
        _share("escalated", "上报过", "those that went up", "ups > 0"),
        _share("returned", "退回过", "those that were returned", "downs > 0"),
        _share("reopened", "重办过", "those that were reopened", "reopened > 0"),
        *(
            _share(f"reached_{tier.word}", f"最高到{zh}", f"those that reached {en} and no higher",
                   f"highest = {int(tier)}")
            for tier, (zh, en) in _TIERS.items()
        ),
    ),
)  # fmt: skip


# --- 3 and the first half of 6: was it done by when it was due, and was it done right ---

_OWED: Final = "(kind = 'closed' AND verdict <> 'no_deadline' OR kind = 'overdue')"
_OWED_ZH: Final = "应结案（期内结案 + 到期不晚于期末、期末未结案）"
_OWED_EN: Final = (
    "due (what was closed in the window, and what was open at its end with an adjusted due at or "
    "before it)"
)
_LATE_GONE: Final = {**_GONE, "no_deadline": "kind = 'closed' AND verdict = 'no_deadline'"}

# A pause that began before the due keeps a case from being overdue until its dated end, and then
# for as long as it lasted; one that began after the due changes nothing.
_OVERDUE: Final = """CASE WHEN parked_at < due AND parked_at < {end}
    THEN parked_until <= {end} AND due + (parked_until - parked_at) <= {end}
    ELSE due <= {end} END"""

TIMELINESS: Final = Metric(
    name="timeliness",
    zh="按期结案",
    en="Timeliness",
    model="timeliness",
    table="cases",
    marks={"verdict": "verdict", "reworked": "failed > 0", "dropped": "dropped"},
    rows=(
        Rows(
            kind="closed",
            at="closed_at",
            where="closed_at IS NOT NULL",
            daily="closed_daily",
        ),
        Rows(
            kind="overdue",
            at="due",
            where=f"closed_at IS NULL AND due <= {{end}} AND {_OVERDUE}",
            owed=True,
            passing=True,
        ),
        # Late by days or by more than that: of those that came late long ago few are looked at.
        Rows(
            kind="overdue",
            at="due",
            where="closed_at >= due AND due <= {end} AND closed_at >= {until}"
            f" AND closed_at - due <= {LATE_BY} AND due >= {{end}} - {LATE_BY}",
            owed=True,
        ),
        Rows(
            kind="overdue",
            at="due",
            where=f"due <= {{end}} AND closed_at >= {{until}} AND closed_at - due > {LATE_BY}",
            owed=True,
        ),
        _dropped("dropped_daily"),
    ),
    figures=(
        Figure(
            name="on_time_rate",
            zh="按期结案率",
            en="On-time closure",
            formula_zh=f"按期结案 ÷ {_OWED_ZH}。",
            formula_en=f"Closed on time ÷ {_OWED_EN}.",
            of=_OWED,
            counts="kind = 'closed' AND verdict = 'on_time'",
            excluded=_LATE_GONE,
        ),
        Figure(
            name="closure_rate",
            zh="结案率",
            en="Closure rate",
            formula_zh=f"期内结案 ÷ {_OWED_ZH}。",
            formula_en=f"Closed in the window ÷ {_OWED_EN}.",
            of=_OWED,
            counts="kind = 'closed' AND verdict <> 'no_deadline'",
            excluded=_LATE_GONE,
        ),
        Figure(
            name="rework_rate",
            zh="返工率",
            en="Rework rate",
            formula_zh=f"应结案中至少一次核查未通过的 ÷ {_OWED_ZH}。",
            formula_en=f"Of those due, with at least one failed check ÷ {_OWED_EN}.",
            of=_OWED,
            counts=f"{_OWED} AND reworked",
            excluded=_LATE_GONE,
        ),
    ),
)


# --- 4, the second half of 6, and half of 12: dispatched, contacted, called back, reopened ---

_DISPATCHED: Final = "dispatched_at IS NOT NULL"
_OWED_CONTACT: Final = f"contact_due IS NOT NULL AND {_DISPATCHED}"

RESPONSE: Final = Metric(
    name="response",
    zh="派遣与响应",
    en="Dispatch and response",
    model="evaluation",
    table="dispatches",
    marks={
        "prompt": "coalesce(contacted_at <= contact_due, false)",
        "reworked": "failed > 0",
        "first": "episode = 1",
        "dropped": "dropped",
    },
    rows=(
        Rows(
            kind="contact",
            at="contact_due",
            where=_OWED_CONTACT,
            passed=True,
            daily="contacts_daily",
        ),
        Rows(
            kind="contact",
            at="contact_due",
            where=_OWED_CONTACT,
            passed=True,
            dropped=True,
            daily="contacts_dropped_daily",
        ),
        Rows(kind="dispatch", at="dispatched_at", where=_DISPATCHED, daily="dispatches_daily"),
        Rows(
            kind="dispatch",
            at="dispatched_at",
            where=_DISPATCHED,
            dropped=True,
            daily="dispatches_dropped_daily",
        ),
    ),
    figures=(
        Figure(
            name="response_rate",
            zh="响应率",
            en="Response rate",
            formula_zh="时限内首次联系 ÷ 已派遣且首次联系时限在期内届满的。",
            formula_en="First contact within its limit ÷ dispatched, with a contact limit that "
            "passed in the window.",
            among="kind = 'contact'",
            of="dropped IS NULL",
            counts="dropped IS NULL AND prompt",
            excluded={
                "void": "dropped = 'void'",
                "merged": "dropped = 'merged'",
            },
        ),
        Figure(
            name="dispatch_accuracy",
            zh="准确派遣率",
            en="Accurate dispatch",
            formula_zh="（期内派遣 − 其中返工的）÷ 期内派遣；重办不再计。",
            formula_en="(Dispatched in the window − those of them with rework) ÷ dispatched; a "
            "reopening does not count again.",
            among="kind = 'dispatch' AND first",
            of="dropped IS NULL",
            counts="dropped IS NULL AND NOT reworked",
            excluded={"void": "dropped = 'void'", "merged": "dropped = 'merged'"},
        ),
    ),
)

_ANSWERED: Final = "standing AND reached"
_UNANSWERED: Final = {
    "void": "dropped = 'void'",
    "merged": "dropped = 'merged'",
    "unreached": "standing AND NOT reached AND tried",
    "waiting": "standing AND NOT reached AND NOT tried",
}
_ANSWERS_ZH: Final = "有效回访（期内结案且联系上居民的）"
_ANSWERS_EN: Final = "valid callbacks (closed in the window, and the resident was reached)"

EVALUATION: Final = Metric(
    name="evaluation",
    zh="回访评价与重办",
    en="Callback, evaluation and reopening",
    model="evaluation",
    table="closures",
    marks={
        "standing": "reopened_at IS NULL AND dropped IS NULL",
        "reached": "reached",
        "solved": "coalesce(solved, false)",
        "satisfied": "coalesce(satisfied, false)",
        "tried": "attempts >= at_most",
        "waited": "closed_at + reopen_days * interval '1 day' <= {now}",
        "reopened": "coalesce(reopened_at <= closed_at + reopen_days * interval '1 day', false)",
        "dropped": "dropped",
    },
    rows=(
        Rows(
            kind="closed",
            at="closed_at",
            where="closed_at IS NOT NULL",
            dropped=None,
            daily="closed_daily",
            wait="reopen_days",
        ),
    ),
    figures=(
        Figure(
            name="solved_rate",
            zh="解决率",
            en="Solved rate",
            formula_zh=f"居民认可已解决 ÷ {_ANSWERS_ZH}。",
            formula_en=f"The resident says it is solved ÷ {_ANSWERS_EN}.",
            of=_ANSWERED,
            counts=f"{_ANSWERED} AND solved",
            excluded=_UNANSWERED,
        ),
        Figure(
            name="satisfied_rate",
            zh="满意率",
            en="Satisfaction rate",
            formula_zh=f"居民满意 ÷ {_ANSWERS_ZH}。",
            formula_en=f"The resident is satisfied ÷ {_ANSWERS_EN}.",
            of=_ANSWERED,
            counts=f"{_ANSWERED} AND satisfied",
            excluded=_UNANSWERED,
        ),
        Figure(
            name="callback_coverage",
            zh="回访覆盖率",
            en="Callback coverage",
            formula_zh="联系上居民的 ÷ 期内结案。",
            formula_en="The resident was reached ÷ closed in the window.",
            of="standing",
            counts=_ANSWERED,
            excluded={"void": "dropped = 'void'", "merged": "dropped = 'merged'"},
        ),
        Figure(
            name="reopen_rate",
            zh="重办率",
            en="Reopen rate",
            formula_zh="在重办期限内重办的 ÷ 期内结案且重办期限已满的；重办后撤销的结案仍计。",
            formula_en="Reopened within the days allowed ÷ closed in the window, with those days "
            "over; here a closing counts although it was taken back.",
            of="dropped IS NULL AND waited",
            counts="dropped IS NULL AND waited AND reopened",
            excluded={
                "void": "dropped = 'void'",
                "merged": "dropped = 'merged'",
                "too_recent": "dropped IS NULL AND NOT waited",
            },
        ),
    ),
)


# --- 5, 9 and the other half of 12: settled at once, come back, filed rightly ---

_FIRST: Final = "known AND NOT follows AND waited"

QUALITY: Final = Metric(
    name="quality",
    zh="一次办结与重复发生",
    en="First-contact resolution and repeats",
    model="quality",
    table="cases",
    marks={
        "filed": "filed_at IS NOT NULL",
        "known": "reporter IS NOT NULL",
        "waited": f"reported_at + interval '{FOLLOW_UP_DAYS} days' <= {{now}}",
        "settled": "settled",
        "placed": "cell IS NOT NULL",
        "dropped": "dropped",
    },
    pairs={
        "follows": Paired("follow_ups", "again", "again_nth", "again_territory", "again_at"),
        "followed": Paired("follow_ups", "case", "nth", "territory", "at"),
        "repeated": Paired("repeats", "case", "nth", "territory", "at"),
    },
    rows=(
        Rows(
            kind="reported",
            at="reported_at",
            where="true",
            dropped=None,
            daily="reported_daily",
            wait=str(FOLLOW_UP_DAYS),
            paired=("follows", "followed"),
        ),
        Rows(
            kind="closed",
            at="closed_at",
            where="closed_at IS NOT NULL",
            daily="closed_daily",
            paired=("repeated",),
        ),
    ),
    figures=(
        Figure(
            name="first_contact",
            zh="一次办结率",
            en="First-contact resolution",
            formula_zh=f"首次上报中由首位处置人解决、{FOLLOW_UP_DAYS} 天内同一人未再报同地同类的 ÷ "
            f"期内首次上报且已满 {FOLLOW_UP_DAYS} 天的。"
            f"同地：相距 {NEAR_METRES} 米以内，没有坐标时为同一属地。",
            formula_en="Of these, resolved by the first handler with no report by the same person "
            f"of the same place and category in the next {FOLLOW_UP_DAYS} days ÷ first reports of "
            f"the window whose {FOLLOW_UP_DAYS} days have passed. The same place is within "
            f"{NEAR_METRES} metres or, without coordinates, the same territory.",
            among="kind = 'reported'",
            of=f"filed AND dropped IS NULL AND {_FIRST}",
            counts=f"filed AND dropped IS NULL AND {_FIRST} AND settled AND NOT followed",
            excluded={
                "void": "dropped = 'void'",
                "merged": "dropped = 'merged'",
                "rejected": "dropped = 'rejected'",
                "anonymous": "filed AND dropped IS NULL AND NOT known",
                "follow_up": "filed AND dropped IS NULL AND known AND follows",
                "too_recent": "filed AND dropped IS NULL AND known AND NOT follows AND NOT waited",
            },
        ),
        Figure(
            name="repeat_rate",
            zh="重复发生率",
            en="Repeat issues",
            formula_zh=f"结案后 {REPEAT_DAYS} 天内同地（{NEAR_METRES} 米内）同类再次发生的 ÷ "
            "期内结案且有坐标的。",
            formula_en=f"The same category within {NEAR_METRES} metres is reported within "
            f"{REPEAT_DAYS} days after closing ÷ closed in the window, with known coordinates.",
            among="kind = 'closed'",
            of="placed",
            counts="placed AND repeated",
            excluded={"no_place": "NOT placed"},
        ),
        Figure(
            name="filing_accuracy",
            zh="准确立案率",
            en="Accurate filing",
            formula_zh="（立案 − 其中作废的）÷ 立案，按期内上报计。",
            formula_en="(Filed − those of them that were voided) ÷ filed, of the reports of the "
            "window.",
            among="kind = 'reported'",
            of="filed AND dropped IS DISTINCT FROM 'merged'",
            counts="filed AND dropped IS NULL",
            excluded={"merged": "dropped = 'merged'", "rejected": "dropped = 'rejected'"},
        ),
    ),
)


# --- 10, 11: what is still open, and how evenly the grids carry it ---

BACKLOG: Final = Metric(
    name="backlog",
    zh="积案",
    en="Backlog",
    model="timeliness",
    table="cases",
    marks={
        "overdue": f"coalesce({_OVERDUE.replace('{end}', '{now}')}, false)",
        "paused": "parked_at IS NOT NULL",
    },
    rows=(Rows(kind="open", at="filed_at", where="closed_at IS NULL", passing=True),),
    figures=(
        Figure(
            name="overdue_share",
            zh="超期积案占比",
            en="Overdue share of the backlog",
            formula_zh="已超期的 ÷ 期内立案、目前未结案的。",
            formula_en="Overdue ÷ filed in the window and open now.",
            of="kind = 'open'",
            counts="kind = 'open' AND overdue",
        ),
        Figure(
            name="paused_share",
            zh="挂账占比",
            en="Parked share of the backlog",
            formula_zh="挂账的 ÷ 期内立案、目前未结案的。",
            formula_en="Parked ÷ filed in the window and open now.",
            of="kind = 'open'",
            counts="kind = 'open' AND paused",
        ),
    ),
)

CASELOAD: Final = Metric(
    name="caseload",
    zh="网格工作量",
    en="Caseload",
    model="caseload",
    table="cases",
    marks={
        "size": "size",
        "in_force": "territory IN (SELECT g.path FROM caseload.grids g WHERE {in_force})",
        "dropped": "dropped",
    },
    rows=(
        Rows(
            kind="filed",
            at="filed_at",
            where="true",
            dropped=None,
            daily="filed_sums",
            by_itself=True,
        ),
    ),
    figures=(
        Figure(
            name="weight",
            zh="加权件均",
            en="Mean weight of a case",
            formula_zh=f"期内立案的加权件数（大事计 {BIG_WEIGHT}，"
            "小事计 1）÷ 件数，限期末有效的网格。",
            formula_en=f"Weighted cases filed in the window (a big one counts {BIG_WEIGHT}, a "
            "small one 1) ÷ cases, in the grids in force at the window's end.",
            of="dropped IS NULL AND in_force",
            counts="dropped IS NULL AND in_force",
            times=f"CASE size WHEN 'big' THEN {BIG_WEIGHT} ELSE 1 END",
            excluded={
                "void": "dropped = 'void'",
                "merged": "dropped = 'merged'",
                "outside_grids": "dropped IS NULL AND NOT in_force",
            },
        ),
    ),
)

METRICS: Final = {
    metric.name: metric
    for metric in (
        CONTAINMENT, FLOW, TIMELINESS, RESPONSE, EVALUATION, QUALITY, BACKLOG, CASELOAD,
    )
}  # fmt: skip

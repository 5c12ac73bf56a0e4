"""What a step or a fact of a case says, in the field's words: which of its fields, called what.

A page shows no raw event. ``STEPS`` names for each event the fields that tell something beside its
name, time and actor; a field that is not in ``FIELDS`` cannot be shown.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from api.schemas import cases as s
from domain.words import Word

Kind = Literal[
    "text", "person", "unit", "units", "place", "tier", "move", "when", "case", "children",
    "category", "limit", "yes", "number", "code",
    "SOURCES", "SIZES", "ESCALATION_REASONS", "OUTCOMES", "STATES", "ASKED",
]  # fmt: skip
"""How a value is said. ``text`` is personal, one or several: hidden until somebody gives a purpose;
``move`` is from one tier to another. A name in capitals is a table of ``domain.words``."""


@dataclass(frozen=True, slots=True)
class Said:
    """One thing that a step says. ``path`` is where it stands in the event."""

    path: str
    label: Word
    kind: Kind
    value: Any


FIELDS: Final[dict[str, tuple[Word, Kind]]] = {
    "asked_by": (Word("申请人", "Asked by"), "person"),
    "attempt": (Word("第几次", "Attempt"), "number"),
    "child": (Word("子事项", "Child"), "case"),
    "children": (Word("子事项", "Children"), "children"),
    "comment": (Word("评价内容", "Comment"), "text"),
    "contact_due": (Word("首次联系时限", "First contact due"), "when"),
    "counted_to": (Word("计算到", "Counted until"), "when"),
    "description": (Word("问题描述", "Description"), "text"),
    "directive": (Word("下派要求", "Directive"), "text"),
    "due": (Word("办理时限", "Due"), "when"),
    "duplicate": (Word("重复事项", "Duplicate"), "case"),
    "evidence": (Word("证据", "Evidence"), "text"),
    "first_contact": (Word("首次联系", "First contact"), "yes"),
    "from_tier": (Word("层级", "Tier"), "move"),
    "holder": (Word("责任属地", "Responsible"), "place"),
    "into": (Word("并入", "Into"), "case"),
    "more": (Word("延长", "Extended by"), "limit"),
    "name": (Word("文件名", "File"), "text"),
    "note": (Word("说明", "Note"), "text"),
    "occurred": (Word("发现时间", "Seen"), "when"),
    "on_time": (Word("按期", "In time"), "yes"),
    "outcome": (Word("结案结果", "Outcome"), "OUTCOMES"),
    "parent": (Word("主事项", "Parent"), "case"),
    "parked": (Word("挂账起", "Parked from"), "when"),
    "provisional": (Word("时限暂定", "Provisional due"), "yes"),
    "purpose": (Word("吹哨事由", "Purpose"), "text"),
    "reached": (Word("联系上", "Reached"), "yes"),
    "reason": (Word("原因", "Reason"), "text"),
    "reference": (Word("原系统编号", "Reference there"), "code"),
    "refused_by": (Word("不属本单位的认定人", "Refused by"), "text"),
    "reply_by": (Word("报到期限", "Report in by"), "when"),
    "reporter.address": (Word("上报人住址", "Reporter's address"), "text"),
    "reporter.name": (Word("上报人", "Reporter"), "text"),
    "reporter.phone": (Word("上报人电话", "Reporter's phone"), "text"),
    "rule": (Word("规则", "Rule"), "code"),
    "satisfied": (Word("满意", "Satisfied"), "yes"),
    "solved": (Word("已解决", "Solved"), "yes"),
    "source": (Word("来源", "Source"), "SOURCES"),
    "spot.address": (Word("地址", "Address"), "text"),
    "system": (Word("原系统", "Old system"), "code"),
    "terms": (Word("类别", "Category"), "category"),
    "terms.size": (Word("大小", "Size"), "SIZES"),
    "text": (Word("内容", "Text"), "text"),
    "unit": (Word("责任单位", "Unit"), "unit"),
    "units": (Word("被吹哨单位", "Units called"), "units"),
    "until": (Word("挂账至", "Parked until"), "when"),
    "worker": (Word("网格员", "Grid worker"), "person"),
}

_ESCALATED: Final = (Word("原因", "Reason"), "ESCALATION_REASONS")

STEPS: Final[dict[str, str]] = {
    "case.reported": "source description spot.address reporter.name reporter.phone"
    " reporter.address occurred parent",
    "case.verified": "note",
    "case.rejected": "reason",
    "case.filed": "terms terms.size holder due provisional contact_due",
    "case.reclassified": "terms terms.size reason due provisional",
    "case.void_asked": "reason",
    "case.voided": "asked_by reason",
    "case.dispatched": "unit worker holder",
    "case.transferred": "unit worker holder reason",
    "case.accepted": "first_contact",
    "case.escalated": "from_tier holder reason note",
    "case.returned": "from_tier holder directive",
    "case.whistled": "units purpose reply_by",
    "case.unit_reported_in": "unit",
    "case.unit_absent": "unit",
    "case.split": "children",
    "case.merged": "into",
    "case.absorbed": "duplicate",
    "case.child_ended": "child",
    "case.child_reopened": "child",
    "case.park_asked": "until reason",
    "case.parked": "asked_by until reason",
    "case.resumed": "parked counted_to due provisional",
    "case.extension_asked": "more reason",
    "case.deadline_extended": "asked_by more due provisional reason",
    "case.request_declined": "asked_by reason",
    "case.due_reminded": "due",
    "case.deadline_breached": "due",
    "case.due_recomputed": "due provisional",
    "case.contact_due_reckoned": "contact_due provisional",
    "case.resolved": "evidence note",
    "case.check_passed": "note",
    "case.check_failed": "note",
    "case.closed": "outcome refused_by on_time",
    "case.callback_made": "attempt reached solved",
    "case.evaluated": "solved satisfied comment",
    "case.reopened": "reason holder due provisional",
    "case.reopening_ended": "",
    "case.note_added": "text",
    "case.file_attached": "name",
    "case.rule_waived": "rule system reference",
}

_UNSAID: Final = {"provisional": False, "first_contact": False}
"""What goes without saying."""


def told(step: s.StepAnswer) -> list[Said]:
    """What a step says beside what happened, when and by whom."""
    return list(_told(step.name, step.details))


def _told(name: str, details: Mapping[str, Any]) -> Iterator[Said]:
    for path in STEPS[name].split():
        label, kind = FIELDS[path]
        if name == "case.escalated" and path == "reason":
            label, kind = _ESCALATED  # a word here, and nothing typed
        value = _at(details, path)
        if value in (None, "", [], ()) or _UNSAID.get(path, ...) == value:
            continue
        if path == "occurred" and value == details.get("at"):
            continue
        if kind == "when":
            value = datetime.fromisoformat(value)
        elif kind == "move":
            value = (value, details["tier"])
        yield Said(path, label, kind, value)


def _at(details: Mapping[str, Any], path: str) -> Any:
    value: Any = details
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def people(steps: list[s.StepAnswer]) -> Iterator[str]:
    """Everybody whom steps name."""
    for step in steps:
        yield step.actor
        yield from (said.value for said in told(step) if said.kind == "person")


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact of a case as it stands, or stood."""

    name: str
    label: Word
    kind: Kind
    value: Any


_FACTS: Final[dict[str, tuple[Word, Kind]]] = {
    "state": (Word("状态", "State"), "STATES"),
    "category": (Word("类别", "Category"), "category"),
    "size": (Word("大小", "Size"), "SIZES"),
    "filed_size": (Word("立案时大小", "Size when filed"), "SIZES"),
    "territory": (Word("地点", "Place"), "place"),
    "tier": (Word("层级", "Tier"), "tier"),
    "highest": (Word("到过的最高层级", "Highest tier"), "tier"),
    "holder": (Word("责任属地", "Responsible"), "place"),
    "unit": (Word("责任单位", "Unit"), "unit"),
    "worker": (Word("指定网格员", "Worker named"), "person"),
    "handler": (Word("处置人", "Handler"), "person"),
    "source": (Word("来源", "Source"), "SOURCES"),
    "occurred_at": (Word("发现时间", "Seen"), "when"),
    "reported_at": (Word("上报时间", "Reported"), "when"),
    "filed_at": (Word("立案时间", "Filed"), "when"),
    "contact_due": (Word("首次联系时限", "First contact due"), "when"),
    "contacted_at": (Word("首次联系", "First contact"), "when"),
    "due": (Word("办理时限", "Due"), "when"),
    "provisional": (Word("时限暂定", "Provisional due"), "yes"),
    "breached": (Word("超期", "Breached"), "yes"),
    "parked_until": (Word("挂账至", "Parked until"), "when"),
    "asked": (Word("待批", "Waiting for approval"), "ASKED"),
    "asked_by": (Word("申请人", "Asked by"), "person"),
    "called": (Word("被吹哨单位", "Units called"), "units"),
    "awaited": (Word("待报到单位", "Units awaited"), "units"),
    "episode": (Word("办理轮次", "Episode"), "number"),
    "returns": (Word("下派次数", "Returns"), "number"),
    "outcome": (Word("结案结果", "Outcome"), "OUTCOMES"),
    "closed_at": (Word("结案时间", "Closed"), "when"),
    "callback_until": (Word("回访截止", "Call back until"), "when"),
    "parent": (Word("主事项", "Parent"), "case"),
    "survivor": (Word("并入", "Merged into"), "case"),
}

_UNSAID_FACTS: Final = {"provisional": False, "breached": False, "returns": 0, "episode": 0}


def facts(card: s.CaseCard) -> list[Fact]:
    """The facts of a case that are not on every page's head, in order; all of ``_FACTS``."""
    found = []
    for name, (label, kind) in _FACTS.items():
        value = getattr(card, name)
        if kind == "category" and value is not None:
            value = {"code": value, "name_zh": card.category_zh, "name_en": card.category_en}
        found.append(Fact(name, label, kind, value))
    return found


def says(fact: Fact) -> bool:
    """Whether a fact tells anything."""
    return fact.value not in (None, "", []) and _UNSAID_FACTS.get(fact.name, ...) != fact.value

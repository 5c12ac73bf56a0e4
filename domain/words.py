"""The field's words in both languages, as its people say them.

One table for each kind of word; the keys are the values of the enumerations, the names of states
and commands, and the names of fields. Screens, answers and refusals all speak from here.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple


class Word(NamedTuple):
    """One word: Chinese as an office writes it, English in lower case."""

    zh: str
    en: str


STATES: Final = {
    "unknown": Word("未登记", "unknown"),
    "reported": Word("待受理", "reported"),
    "rejected": Word("不予立案", "rejected"),
    "filed": Word("待派遣", "filed"),
    "assigned": Word("待签收", "assigned"),
    "in_progress": Word("处置中", "in progress"),
    "parked": Word("已挂账", "parked"),
    "resolved": Word("待核查", "resolved"),
    "checked": Word("待结案", "checked"),
    "closed": Word("已结案", "closed"),
    "evaluated": Word("已评价", "evaluated"),
    "merged": Word("已并案", "merged"),
    "void": Word("已作废", "void"),
}

TIERS: Final = {
    "grid": Word("网格", "grid"),
    "community": Word("社区", "community"),
    "subdistrict": Word("街道", "subdistrict"),
    "district": Word("区县", "district"),
}

ROLES: Final = {
    "resident": Word("居民", "resident"),
    "grid_worker": Word("网格员", "grid worker"),
    "hotline": Word("热线话务员", "hotline operator"),
    "acceptor": Word("受理员", "acceptor"),
    "dispatcher": Word("派遣员", "dispatcher"),
    "handler": Word("处置人员", "handler"),
    "coordinator": Word("统筹员", "coordinator"),
    "supervisor": Word("督查员", "supervisor"),
    "shift_lead": Word("值班长", "shift lead"),
    "callback_desk": Word("回访员", "callback desk"),
    "administrator": Word("系统管理员", "administrator"),
    "importer": Word("数据迁移", "importer"),
    "system": Word("系统自动", "system"),
}

SOURCES: Final = {
    "resident": Word("居民上报", "resident"),
    "grid_worker": Word("网格员巡查", "grid worker's patrol"),
    "window": Word("社区窗口", "community window"),
    "hotline": Word("12345 热线", "12345 hotline"),
    "department": Word("部门交办", "department"),
}

ESCALATION_REASONS: Final = {
    "beyond_authority": Word("超出职权", "beyond authority"),
    "resources": Word("力量不足", "not enough resources"),
    "cross_grid": Word("跨网格", "crosses grids"),
    "cross_department": Word("跨部门", "crosses departments"),
    "safety": Word("涉及安全", "safety"),
    "sla_breach": Word("超期", "deadline breached"),
    "resident_appeal": Word("居民申诉", "resident's appeal"),
    "repeat": Word("重复发生", "happens again and again"),
}

OUTCOMES: Final = {
    "resolved": Word("已解决", "resolved"),
    "not_resolvable": Word("无法解决", "not resolvable"),
    "not_ours": Word("非本单位职责", "not ours"),
    "withdrawn": Word("居民撤回", "withdrawn"),
}

SIZES: Final = {
    "small": Word("小事", "small"),
    "big": Word("大事", "big"),
}

ASKED: Final = {
    "void": Word("作废", "void"),
    "park": Word("挂账", "parking"),
    "extension": Word("延时", "extension"),
}

CALLS: Final = {
    "waiting": Word("待报到", "waiting"),
    "reported_in": Word("已报到", "reported in"),
    "absent": Word("未报到", "absent"),
}

PURPOSES: Final = {
    "handling": Word("办理", "handling"),
    "contact": Word("联系当事人", "getting in touch"),
    "check": Word("核查", "check"),
    "callback": Word("回访", "callback"),
    "complaint": Word("投诉处理", "complaint"),
    "audit": Word("审计", "audit"),
    "own": Word("本人查看", "own data"),
}
"""Why somebody looks at personal data."""

PERSONAL_FIELDS: Final = {
    "description": Word("问题描述", "description"),
    "address": Word("事发地址", "address of the matter"),
    "reporter_name": Word("上报人姓名", "reporter's name"),
    "reporter_phone": Word("上报人电话", "reporter's phone"),
    "reporter_address": Word("上报人住址", "reporter's address"),
    "steps": Word("办理过程文字", "texts of the steps"),
    "attachments": Word("附件", "attachments"),
}

FORGET_REASONS: Final = {
    "request": Word("本人要求", "the person's own request"),
    "retention": Word("期限届满", "end of the retention period"),
    "mistake": Word("误录", "recorded by mistake"),
}

CLOCKS: Final = {
    "running": Word("计时中", "running"),
    "paused": Word("暂停计时", "paused"),
    "stopped": Word("停止计时", "stopped"),
}

LIMIT_UNITS: Final = {
    "wh": Word("工作小时", "working hours"),
    "wd": Word("个工作日", "working days"),
    "h": Word("小时", "hours"),
    "d": Word("天", "days"),
    "same_day": Word("当日办结", "same day"),
}

SENT_BACK: Final = {
    "returned": Word("下派退回", "returned"),
    "failed": Word("返工", "rework"),
    "reopened": Word("重办", "reopened"),
}

COMMANDS: Final = {
    # a case comes in
    "ReportCase": Word("上报", "report"),
    "VerifyCase": Word("核实", "verify"),
    "RejectCase": Word("不予立案", "reject"),
    "FileCase": Word("立案", "file"),
    "ReclassifyCase": Word("改类", "reclassify"),
    "AskVoid": Word("申请作废", "ask to void"),
    "ApproveVoid": Word("批准作废", "approve the void"),
    # it is worked on
    "DispatchCase": Word("派遣", "dispatch"),
    "TransferCase": Word("转派", "transfer"),
    "AcceptCase": Word("签收", "accept"),
    "EscalateCase": Word("上报上级", "escalate"),
    "ReturnCase": Word("下派", "return down"),
    "WhistleCase": Word("吹哨", "whistle"),
    "ReportIn": Word("报到", "report in"),
    "MarkAbsent": Word("记录未报到", "mark absent"),
    "SplitCase": Word("拆分", "split"),
    "MergeCase": Word("并案", "merge"),
    "AbsorbCase": Word("并入重复事项", "absorb a duplicate"),
    "NoteChildEnded": Word("子事项办结", "note the end of a child"),
    "NoteChildReopened": Word("子事项重办", "note the reopening of a child"),
    # its clock
    "AskPark": Word("申请挂账", "ask to park"),
    "ApprovePark": Word("批准挂账", "approve the parking"),
    "ResumeCase": Word("恢复", "resume"),
    "AskExtension": Word("申请延时", "ask for an extension"),
    "ApproveExtension": Word("批准延时", "approve the extension"),
    "DeclineRequest": Word("不同意申请", "decline the request"),
    "RemindDue": Word("催办", "remind of the due"),
    "MarkBreach": Word("记录超期", "mark the breach"),
    "RecomputeDue": Word("重算时限", "recompute the due"),
    # it ends
    "ResolveCase": Word("处置反馈", "resolve"),
    "CheckCase": Word("核查", "check"),
    "CloseCase": Word("结案", "close"),
    "RecordCallback": Word("回访", "call back"),
    "EvaluateCase": Word("评价", "evaluate"),
    "ReopenCase": Word("重办", "reopen"),
    "EndReopening": Word("记录重办期满", "end the time for reopening"),
    "AddNote": Word("备注", "add a note"),
    "AttachFile": Word("上传附件", "attach a file"),
    # territories
    "CreateTerritory": Word("设立属地", "create a territory"),
    "RenameTerritory": Word("属地更名", "rename a territory"),
    "RedrawGrid": Word("调整网格边界", "redraw a grid"),
    "SplitGrid": Word("网格拆分", "split a grid"),
    "MergeGrids": Word("网格合并", "merge grids"),
    "AssignWorker": Word("配备网格员", "assign a grid worker"),
    "ReleaseWorker": Word("调离网格员", "release a grid worker"),
    "RecordHouseholds": Word("入户登记", "record households"),
    # people and units
    "AddUser": Word("新增人员", "add a person"),
    "GrantRole": Word("授权", "grant a role"),
    "RevokeRole": Word("撤销授权", "revoke a role"),
    "SuspendUser": Word("停用账号", "suspend a person"),
    "RestoreUser": Word("恢复账号", "restore a person"),
    "MoveUser": Word("人员调动", "move a person to another unit"),
    "NotePasswordChanged": Word("修改密码", "change a password"),
    "AddUnit": Word("新增责任单位", "add a unit"),
    "CloseUnit": Word("撤销责任单位", "close a unit"),
    # personal data
    "ShowPersonal": Word("查看个人信息", "look at personal data"),
    "AskForget": Word("申请删除个人信息", "ask to forget a person"),
    "ApproveForget": Word("批准删除个人信息", "approve forgetting a person"),
    "DeclineForget": Word("不同意删除个人信息", "decline forgetting a person"),
    "ForgetMissed": Word("补充删除个人信息", "forget what came in meanwhile"),
    # read models
    "SkipEvent": Word("跳过读模型无法处理的事件", "leave an event out of a read model"),
    # webhooks
    "AddReceiver": Word("新增接收方", "add a receiver"),
    "ChangeReceiver": Word("修改接收方", "change a receiver"),
    "RotateReceiverSecret": Word("更换接收方密钥", "rotate a receiver's secret"),
    "RemoveReceiver": Word("删除接收方", "remove a receiver"),
    "ResendDeadLetters": Word("重发未送达消息", "send dead letters again"),
    # the whole office
    "DefineCategory": Word("维护事项类别", "define a category"),
    "RetireCategory": Word("停用事项类别", "retire a category"),
    "SetPolicy": Word("设置办理规则", "set the policy"),
    "SetReminder": Word("设置催办提前量", "set when to remind"),
    "PublishYear": Word("发布年度放假安排", "publish a year's schedule"),
    "DeclareDay": Word("指定上班或放假", "declare a day"),
    "SetWorkingHours": Word("设置工作时段", "set the working hours"),
}

AUTOMATIC: Final = {
    "reminder": Word("临期催办", "reminder of the due"),
    "breach": Word("超期上报", "breach of the due"),
    "parking_end": Word("挂账到期恢复", "end of the parking"),
    "reopening_end": Word("重办期满", "end of the time for reopening"),
    "recompute": Word("暂定时限重算", "provisional due to be reckoned again"),
}
"""What happens to a case by itself."""

EVENTS: Final = {
    "case.reported": Word("上报", "reported"),
    "case.verified": Word("核实", "verified"),
    "case.rejected": Word("不予立案", "rejected"),
    "case.filed": Word("立案", "filed"),
    "case.reclassified": Word("改类", "reclassified"),
    "case.void_asked": Word("申请作废", "asked to void"),
    "case.voided": Word("作废", "voided"),
    "case.dispatched": Word("派遣", "dispatched"),
    "case.transferred": Word("转派", "transferred"),
    "case.accepted": Word("签收", "accepted"),
    "case.escalated": Word("上报上级", "escalated"),
    "case.returned": Word("下派", "returned down"),
    "case.whistled": Word("吹哨", "units called together"),
    "case.unit_reported_in": Word("报到", "a unit reported in"),
    "case.unit_absent": Word("未报到", "a unit did not come"),
    "case.split": Word("拆分", "split"),
    "case.merged": Word("并入其他事项", "merged into another"),
    "case.absorbed": Word("并入重复事项", "a duplicate was merged in"),
    "case.child_ended": Word("子事项办结", "a child ended"),
    "case.child_reopened": Word("子事项重办", "a child was reopened"),
    "case.park_asked": Word("申请挂账", "asked to park"),
    "case.parked": Word("挂账", "parked"),
    "case.resumed": Word("恢复办理", "resumed"),
    "case.extension_asked": Word("申请延时", "asked for time"),
    "case.deadline_extended": Word("延时", "the deadline was extended"),
    "case.request_declined": Word("申请未获同意", "a request was declined"),
    "case.due_reminded": Word("临期催办", "reminded of the due"),
    "case.deadline_breached": Word("超期", "the deadline was breached"),
    "case.due_recomputed": Word("时限重算", "the due was reckoned again"),
    "case.contact_due_reckoned": Word(
        "首次联系时限重算", "the due of the first contact was reckoned again"
    ),
    "case.resolved": Word("处置反馈", "resolved"),
    "case.check_passed": Word("核查通过", "the check was passed"),
    "case.check_failed": Word("核查不通过，返工", "the check failed: rework"),
    "case.closed": Word("结案", "closed"),
    "case.callback_made": Word("回访", "the resident was called back"),
    "case.evaluated": Word("评价", "evaluated"),
    "case.reopened": Word("重办", "reopened"),
    "case.reopening_ended": Word("重办期满", "the time for reopening ended"),
    "case.note_added": Word("备注", "a note was added"),
    "case.file_attached": Word("添加附件", "a file was attached"),
    "case.rule_waived": Word("历史数据未遵守现行规则", "imported history did not keep a rule"),
    "territory.created": Word("设立属地", "a territory was created"),
    "territory.renamed": Word("属地更名", "a territory was renamed"),
    "territory.grid_redrawn": Word("网格调整边界", "a grid was redrawn"),
    "territory.grid_split": Word("网格拆分", "a grid was split"),
    "territory.grids_merged": Word("网格合并", "grids were merged"),
    "territory.worker_assigned": Word("配置网格员", "a worker was assigned"),
    "territory.worker_released": Word("网格员离岗", "a worker was released"),
    "territory.households_recorded": Word("登记户数人数", "households were recorded"),
    "staff.user_added": Word("新增人员", "a person was added"),
    "staff.role_granted": Word("授予角色", "a role was granted"),
    "staff.role_revoked": Word("撤销角色", "a role was revoked"),
    "staff.user_suspended": Word("停用账号", "a person was suspended"),
    "staff.user_restored": Word("恢复账号", "a person was restored"),
    "staff.user_moved": Word("人员调动", "a person was moved to another unit"),
    "staff.password_changed": Word("修改密码", "a password was changed"),
    "staff.unit_added": Word("新增责任单位", "a unit was added"),
    "staff.unit_closed": Word("撤销责任单位", "a unit was closed"),
    "privacy.personal_shown": Word("查看个人信息", "personal data was shown"),
    "privacy.forget_asked": Word("申请删除个人信息", "asked to forget a person"),
    "privacy.forget_declined": Word("删除个人信息未获同意", "forgetting a person was declined"),
    "privacy.person_forgotten": Word("删除个人信息", "a person was forgotten"),
    "webhook.receiver_added": Word("新增接收方", "a receiver was added"),
    "webhook.receiver_changed": Word("修改接收方", "a receiver was changed"),
    "webhook.receiver_secret_rotated": Word("更换接收方密钥", "a receiver's secret was rotated"),
    "webhook.receiver_removed": Word("删除接收方", "a receiver was removed"),
    "webhook.dead_letters_resent": Word("重发未送达消息", "dead letters were sent again"),
    "projection.event_skipped": Word("跳过事件", "an event was left out of a read model"),
    "catalogue.category_defined": Word("设置事项类别", "a category was defined"),
    "catalogue.category_retired": Word("停用事项类别", "a category was retired"),
    "catalogue.policy_set": Word("设置办理规则", "the policy was set"),
    "catalogue.reminder_set": Word("设置催办提前量", "when to remind was set"),
    "calendar.year_published": Word("发布年度放假安排", "a year's schedule was published"),
    "calendar.day_declared": Word("指定上班或放假", "a day was declared"),
    "calendar.working_hours_set": Word("设置工作时段", "the working hours were set"),
    "calendar.working_hours_changed": Word("调整工作时段", "the working hours were changed"),
}
"""What has happened, by the stored name of the event."""

FIELDS: Final = {
    "description": Word("问题描述", "the description"),
    "reason": Word("原因", "the reason"),
    "directive": Word("下派要求", "the directive"),
    "purpose": Word("吹哨事由", "the purpose"),
    "note": Word("说明", "the note"),
    "text": Word("备注内容", "the text"),
    "occurred": Word("发现时间", "the time it was seen"),
    "reply_by": Word("报到期限", "the time to report in by"),
    # the policy
    "returns_per_case": Word("每案下派次数", "returns per case"),
    "transfers_per_episode": Word("每轮转派次数", "transfers per episode"),
    "park_cap_days": Word("累计挂账天数", "days of parking"),
    "extensions": Word("延时次数", "extensions"),
    "reopen_window_days": Word("重办期限天数", "days for reopening"),
    "callback_window_days": Word("回访期限天数", "days for callbacks"),
    "callback_attempts": Word("回访次数", "attempts to call back"),
}

READINGS: Final = {
    "cases": Word("事项", "cases"),
    "audit": Word("审计记录", "the audit trail"),
    "metrics": Word("指标", "metrics"),
    "administration": Word("管理信息", "administration"),
}

_OF_FACT: Final[Mapping[str, Mapping[str, Word]]] = {
    "state": STATES,
    "command": COMMANDS,
    "tier": TIERS,
    "role": ROLES,
    "what": ASKED,
    "source": SOURCES,
    "field": FIELDS,
    "reading": READINGS,
}
"""The table that a refusal's fact speaks from, by its name: an id is never taken for a word."""


def spoken(facts: Mapping[str, Any], language: str) -> dict[str, Any]:
    """Facts with the words among them said in a language, ``zh`` or ``en``; the rest as it is."""
    return {name: _said(name, fact, language) for name, fact in facts.items()}


def _said(name: str, fact: Any, language: str) -> Any:
    word = _OF_FACT.get(name, {}).get(fact) if isinstance(fact, str) else None
    return fact if word is None else getattr(word, language)

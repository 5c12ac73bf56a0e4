"""Refusals: the one way a rule says no, with a stable code and both languages.

``REASONS`` lists every code with its texts; a code that is not in it cannot be raised. Texts may
name facts in braces, which the raiser passes by name.
"""

from typing import Any, Final, NamedTuple

from domain.words import spoken


class Reason(NamedTuple):
    """Why a command was refused, in a caseworker's words, and the HTTP status it maps to."""

    status: int
    zh: str
    en: str


class Refused(Exception):
    """A rule does not allow this command now. Nothing has been stored."""

    def __init__(self, code: str, **facts: Any) -> None:
        assert code in REASONS, f"unknown refusal {code}"
        self.code = code
        self.facts = facts
        super().__init__(self.en)

    @property
    def status(self) -> int:
        """The HTTP status that fits: 403 not yours, 404 unknown, 409 not now, 422 not like this."""
        return REASONS[self.code].status

    @property
    def zh(self) -> str:
        """The reason in Chinese."""
        return REASONS[self.code].zh.format(**spoken(self.facts, "zh"))

    @property
    def en(self) -> str:
        """The reason in English."""
        return REASONS[self.code].en.format(**spoken(self.facts, "en"))


class Overloaded(Exception):
    """Too many commands wait already: nothing of this one is stored, send it again soon (503)."""


class Unusable(Exception):
    """What the installation was given to work with is not there, or not as it must be (503). The
    text is for whoever operates it."""


class Conflict(Exception):
    """Other writers were faster every time: the command may be sent again (409)."""


class VersionMismatch(Exception):
    """The stream is not at the version that the caller had seen (412)."""

    def __init__(self, expected: int, actual: int) -> None:
        self.expected, self.actual = expected, actual
        super().__init__(f"expected version {expected}, found {actual}")


REASONS: Final[dict[str, Reason]] = {
    # who may
    "role.not_permitted": Reason(
        403,
        "您的角色或属地无权执行此操作：{command}。",
        "Your role or territory does not permit this: {command}.",
    ),
    # queries
    "query.not_permitted": Reason(
        403,
        "您的角色或属地无权查看：{reading}。",
        "Your role or territory does not permit reading this: {reading}.",
    ),
    "query.text_short": Reason(
        422,
        "请至少输入两个字进行搜索。",
        "Each word of a search needs at least two characters.",
    ),
    "query.bad_phone": Reason(
        422, "请输入完整的电话号码进行搜索。", "A search by phone needs the whole number."
    ),
    "query.no_such_figure": Reason(
        404,
        "指标 {metric} 没有这个数字：{figure}。",
        "The metric {metric} has no figure {figure}.",
    ),
    "query.no_such_reason": Reason(
        422,
        "{figure} 没有这个除外情形：{reason}。",
        "Nothing is left out of {figure} for this reason: {reason}.",
    ),
    "query.too_many_periods": Reason(
        422,
        "这项指标按日、周或月分组时，须有起始时间，且不超过 {most} 段。",
        "By day, week or month this metric needs a window with a beginning, of {most} of them at "
        "most.",
    ),
    # requests
    "request.malformed_json": Reason(
        400, "请求内容不是有效的 JSON。", "The request's body is not valid JSON."
    ),
    "request.bad_encoding": Reason(
        400, "请求内容不是有效的 UTF-8 文本。", "The request's body is not valid UTF-8."
    ),
    "request.sign_in": Reason(401, "请先登录。", "Please sign in first."),
    "request.bad_credentials": Reason(
        401, "用户名或密码不正确。", "The user name or the password is wrong."
    ),
    "request.bad_token": Reason(401, "登录凭证无效，请重新登录。", "This token is not valid."),
    "request.cross_site": Reason(
        403,
        "请求不是从控制台页面发出的，请在控制台页面内操作。",
        "This did not come from a page of the console; do it there.",
    ),
    "request.other_person": Reason(
        403,
        "本机现在由其他人登录，而此页是为另一人打开的，本次操作未执行；请刷新页面。",
        "Somebody else is signed in on this device now than when this page was opened; nothing was "
        "done. Reload the page.",
    ),
    "request.token_expired": Reason(
        401, "登录已过期，请重新登录。", "This token has expired; please sign in again."
    ),
    "request.password_changed": Reason(
        401,
        "密码已更改，请重新登录。",
        "The password was changed since this token was given; please sign in again.",
    ),
    "request.wrong_password": Reason(403, "当前密码不正确。", "The present password is not right."),
    "request.resident_report": Reason(
        403,
        "居民只能以本人名义上报。",
        "A resident reports in the own name.",
    ),
    "request.unknown_path": Reason(404, "没有这个地址。", "There is nothing at this address."),
    "request.unknown_projection": Reason(
        404,
        "没有这个读模型：{projection}。",
        "There is no such read model: {projection}.",
    ),
    "audit.unknown": Reason(
        404,
        "没有日志位置 {position} 的审计记录，或不在本人属地内。",
        "There is no entry of the position {position} in the audit trail, or not in your scope.",
    ),
    "request.no_such_version": Reason(
        404,
        "事项 {case} 在该版本或时间尚不存在。",
        "Case {case} was not there at this version or time.",
    ),
    "request.bad_method": Reason(
        405, "该地址不支持此请求方法。", "This address does not take this method."
    ),
    "request.conflict": Reason(
        409,
        "其他人正在同时办理，请稍后重试。",
        "Others were faster every time; please send it again.",
    ),
    "request.version_mismatch": Reason(
        412,
        "内容已更新：您看到的是版本 {expected}，现为版本 {actual}。",
        "It has changed: you have seen version {expected}, it is at version {actual} now.",
    ),
    "request.too_large": Reason(
        413,
        "请求内容超过 {limit} 字节的上限。",
        "The request's body is larger than {limit} bytes.",
    ),
    "request.too_slow": Reason(
        408,
        "请求内容未在规定时间内传完，没有办理，请检查网络后重试。",
        "The body did not come in time and nothing was done; check the network and send it again.",
    ),
    "request.media_type": Reason(
        415, "请求内容须为 application/json。", "A request's body must be application/json."
    ),
    "request.invalid": Reason(
        422, "请求内容不符合要求，详见 errors。", "The request is not as it must be: see errors."
    ),
    "request.bad_characters": Reason(
        422,
        "文字中含有不允许的字符（控制字符或不完整的字符），详见 errors。",
        "A text holds control characters or halves of characters: see errors.",
    ),
    "request.bad_cursor": Reason(
        422,
        "翻页标记无效，请从第一页重新查询。",
        "This is no cursor of this query; begin with the first page again.",
    ),
    "request.position_ahead": Reason(
        422,
        "日志尚未到达位置 {position}。",
        "The log has not reached position {position} yet.",
    ),
    "request.bad_key": Reason(
        422,
        "Idempotency-Key 须为 1 至 200 个可见的 ASCII 字符。",
        "An Idempotency-Key must be 1 to 200 visible ASCII characters.",
    ),
    "request.key_in_use": Reason(
        409,
        "使用该 Idempotency-Key 的请求正在处理，请稍后再查。",
        "The request with this Idempotency-Key is still being handled; send it again soon.",
    ),
    "request.key_reused": Reason(
        422,
        "该 Idempotency-Key 已用于内容不同的请求。",
        "This Idempotency-Key came with another request before.",
    ),
    "request.too_many_attempts": Reason(
        429,
        "登录失败次数过多，请 {seconds} 秒后再试。",
        "Too many failed sign-ins; try again in {seconds} seconds.",
    ),
    "request.unexpected": Reason(
        500,
        "系统出现意外错误，请将编号 {id} 告知管理员。",
        "Something went wrong that should not; tell your administrator the number {id}.",
    ),
    "report.no_pdf": Reason(
        503,
        "本机缺少生成 PDF 所需的程序库，请管理员执行：apt install libpango-1.0-0 libpangoft2-1.0-0 "
        "libharfbuzz-subset0。表格格式（xlsx、csv）不受影响。",
        "This machine lacks libraries that write PDF: apt install libpango-1.0-0 "
        "libpangoft2-1.0-0 libharfbuzz-subset0. The forms xlsx and csv need none.",
    ),
    "report.no_font": Reason(
        503,
        "本机没有中文字体，请管理员执行：apt install fonts-noto-cjk。"
        "表格格式（xlsx、csv）不受影响。",
        "This machine has no Chinese font: apt install fonts-noto-cjk. The forms xlsx and csv "
        "need none.",
    ),
    "report.not_begun": Reason(
        422,
        "该期从 {first} 开始，尚无内容可报。",
        "That period begins on {first}: there is nothing to report yet.",
    ),
    "request.overloaded": Reason(
        503,
        "系统繁忙，本次操作未保存，请稍后重试。",
        "Too much is waiting already; nothing was stored. Please send it again soon.",
    ),
    "request.behind": Reason(
        503,
        "查询数据正在更新，请稍后重试。",
        "What is asked for is still being brought up to date; please ask again soon.",
    ),
    "request.unavailable": Reason(
        503, "数据库暂时不可用，请稍后重试。", "The database cannot be reached right now."
    ),
    # the live feed
    "request.feed_slow": Reason(
        503,
        "接收过慢，动态已中断；请凭最后的位置重新连接。",
        "You fell too far behind; connect again with the last position you have seen.",
    ),
    "request.feed_closed": Reason(
        503, "服务正在停止，请稍后重新连接。", "The server stops; please connect again soon."
    ),
    # read models
    "projection.reason_missing": Reason(422, "须写明原因。", "A reason must be given."),
    "projection.skipped_already": Reason(
        409, "位置 {position} 已跳过。", "Position {position} is left out already."
    ),
    "projection.not_halted": Reason(
        409,
        "读模型 {projection} 并未停在位置 {position}。",
        "The read model {projection} does not stand still at position {position}.",
    ),
    # webhooks
    "webhook.unknown": Reason(
        404, "没有这个接收方：{receiver}。", "There is no such receiver: {receiver}."
    ),
    "webhook.exists": Reason(
        409,
        "接收方编号 {receiver} 已存在或曾经存在，不可重复使用。",
        "A receiver {receiver} exists or once did; an id is never used again.",
    ),
    "webhook.too_many": Reason(
        409, "接收方最多 {most} 个。", "There are {most} receivers already, and no more may be."
    ),
    "webhook.bad_id": Reason(
        422,
        "接收方编号只能由小写字母、数字、下划线和连字符组成，最长 64 位：{id}。",
        "A receiver's id is of at most 64 lower-case letters, digits, underscores and hyphens: "
        "{id}.",
    ),
    "webhook.bad_url": Reason(
        422,
        "接收地址须为 https:// 开头的完整网址，不含账号密码和 # 部分，最长 {longest} 字符。",
        "A receiver's address is a whole https:// URL without user, password or fragment, of at "
        "most {longest} characters.",
    ),
    "request.https_only": Reason(
        422,
        "本安装只允许 https 接收地址（见 WANGGE_WEBHOOKS_PRIVATE）。",
        "This installation allows https addresses only (see WANGGE_WEBHOOKS_PRIVATE).",
    ),
    "webhook.unknown_event": Reason(
        422, "没有这种事项事件：{event}。", "There is no such event of a case: {event}."
    ),
    # territories
    "territory.unknown": Reason(
        404, "没有这个属地：{path}。", "There is no such territory: {path}."
    ),
    "territory.not_in_force": Reason(
        409,
        "属地 {path} 于 {on} 不在有效期内（承接网格：{successors}）。",
        "Territory {path} is not in force on {on} (its successors: {successors}).",
    ),
    "territory.too_early": Reason(
        409,
        "属地 {path} 的现行版本自 {since} 起生效，变更不得早于该日。",
        "The newest version of {path} began on {since}; no change can hold from before that day.",
    ),
    "territory.exists": Reason(
        409,
        "属地 {path} 已存在或曾经存在，编号不可重复使用。",
        "Territory {path} exists or once did; an id is never used again.",
    ),
    "territory.not_assigned": Reason(
        409,
        "{worker} 不是网格 {path} 的网格员。",
        "{worker} does not work in grid {path}.",
    ),
    "territory.count_ahead": Reason(
        422,
        "{as_of} 还没有到，网格 {path} 的入户数据不能登记在以后的日子。",
        "{as_of} is still to come: grid {path} has no count as of then.",
    ),
    "territory.outdated_count": Reason(
        409,
        "网格 {path} 已有 {since} 的入户数据，不能登记更早的数据。",
        "Grid {path} has a count as of {since}; an older one cannot follow it.",
    ),
    "territory.bad_id": Reason(
        422,
        "属地编号只能由小写字母、数字、下划线和连字符组成，最长 64 位：{id}。",
        "A territory's id is of at most 64 lower-case letters, digits, underscores and hyphens: "
        "{id}.",
    ),
    "territory.bad_name": Reason(
        422,
        "属地须有名称，最长 {longest} 个字。",
        "A territory needs a name of at most {longest} characters.",
    ),
    "territory.bad_boundary": Reason(
        422,
        "边界须为经纬度（WGS-84）组成的闭合环，或一个地图编号。",
        "A boundary is of closed rings of longitude and latitude (WGS-84), or a map's reference.",
    ),
    "territory.bad_count": Reason(
        422, "户数和人数不能为负。", "Households and residents cannot be negative."
    ),
    "territory.wrong_tier": Reason(
        422,
        "属地须逐级设立，{parent} 之下不能设立 {tier}。",
        "A territory is one tier below its parent: no {tier} can lie directly in {parent}.",
    ),
    "territory.not_a_grid": Reason(
        422, "只有网格可以这样操作：{path}。", "This can be done with grids only: {path}."
    ),
    "territory.too_few_parts": Reason(
        422,
        "网格 {path} 须拆分为至少两个编号不同的网格。",
        "Grid {path} must be split into at least two grids with ids of their own.",
    ),
    "territory.shares_differ": Reason(
        422,
        "拆分后各网格之和须等于网格 {path} 的 {households} 户、{residents} 人。",
        "The parts must add up to the {households} households and {residents} residents of {path}.",
    ),
    "territory.not_siblings": Reason(
        422,
        "合并须为同一社区的至少两个不同网格。",
        "A merge takes at least two different grids of one community.",
    ),
    # staff
    "staff.unknown_user": Reason(404, "没有这个人员：{user}。", "There is no such person: {user}."),
    "staff.unknown_unit": Reason(
        404, "没有这个责任单位：{unit}。", "There is no such unit: {unit}."
    ),
    "staff.suspended": Reason(403, "账号已停用：{user}。", "This account is suspended: {user}."),
    "staff.role_reserved": Reason(
        403,
        "该角色只能由系统授予：{role}。",
        "Only the system itself hands out this role: {role}.",
    ),
    "staff.last_administrator": Reason(
        409,
        "{user} 是最后一名在用的全局管理员，不能停用或撤权。",
        "{user} is the last active administrator of everywhere and must stay one.",
    ),
    "staff.user_exists": Reason(409, "人员编号已被使用：{user}。", "This id is taken: {user}."),
    "staff.unit_exists": Reason(409, "单位编号已被使用：{unit}。", "This id is taken: {unit}."),
    "staff.unit_closed": Reason(409, "责任单位已撤销：{unit}。", "This unit is closed: {unit}."),
    "staff.role_not_held": Reason(
        409,
        "{user} 在该属地没有此角色：{role}。",
        "{user} does not hold this role there: {role}.",
    ),
    "staff.bad_id": Reason(
        422,
        "人员编号须为 1 至 64 位小写字母、数字或 . _ : -,且不以 system: 开头：{id}。",
        "A person's id is of 1 to 64 lower-case letters, digits and . _ : -, "
        "and does not begin with system: ({id}).",
    ),
    "staff.bad_unit_id": Reason(
        422,
        "单位编号只能由小写字母、数字、下划线和连字符组成，最长 64 位：{id}。",
        "A unit's id is of at most 64 lower-case letters, digits, underscores and hyphens: {id}.",
    ),
    "staff.bad_territory": Reason(
        422, "属地路径无效：{territory}。", "This is not the path of a territory: {territory}."
    ),
    "staff.name_missing": Reason(422, "请填写名称。", "A name is missing."),
    "staff.reason_missing": Reason(422, "请说明停用原因。", "Say why the account is suspended."),
    # catalogue
    "catalogue.unknown_category": Reason(
        404, "事项清单中没有该类别：{category}。", "The catalogue has no such category: {category}."
    ),
    "catalogue.retired": Reason(
        409, "该类别已停用：{category}。", "This category is retired: {category}."
    ),
    "catalogue.bad_code": Reason(
        422,
        "类别代码只能由小写字母、数字、下划线和连字符组成：{category}。",
        "A category's code is of lower-case letters, digits, underscores and hyphens: {category}.",
    ),
    "catalogue.name_missing": Reason(
        422,
        "类别须有中文名和英文名：{category}。",
        "A category needs a Chinese and an English name: {category}.",
    ),
    "catalogue.bad_limit": Reason(
        422,
        "类别的时限无效，数量须为 1 至 10000，当日办结须为 1:{category}。",
        "Not a possible limit: amounts go from 1 to 10000, same day is 1 ({category}).",
    ),
    "catalogue.bad_policy": Reason(
        422, "办理规则数值过小：{field}。", "This value of the policy is too small: {field}."
    ),
    "catalogue.bad_reminder": Reason(
        422,
        "催办提前量须为 0 至 {most} 小时（0 为不催办）。",
        "A reminder comes 0 to {most} hours ahead of the due (0: none).",
    ),
    # calendar
    "calendar.bad_year": Reason(
        422, "年份不在工作日历范围内：{year}。", "The calendar cannot hold this year: {year}."
    ),
    "calendar.day_outside": Reason(
        422,
        "{day} 不属于 {year} 年的放假安排。",
        "{day} does not belong to the schedule of {year}.",
    ),
    "calendar.day_twice": Reason(
        422,
        "{day} 不能既放假又调休上班。",
        "{day} cannot be both a holiday and a make-up working day.",
    ),
    "calendar.reason_missing": Reason(
        422, "请说明当日上班或放假的原因。", "Say why the office works, or does not, on that day."
    ),
    "calendar.bad_hours": Reason(
        422,
        "工作时段须在一日之内、先后不重叠。",
        "Working periods lie within a day, end after they begin, and do not overlap.",
    ),
    "calendar.no_hours": Reason(
        422,
        "每年至少须有一个工作日，每个工作日至少须有一个工作时段。",
        "A year must keep a working day, and a working day a working period.",
    ),
    # personal data
    "privacy.not_own": Reason(
        403,
        "只有上报人本人可以以“本人查看”为由查看。",
        "Only the one who reported the case may look at it as the own.",
    ),
    "privacy.own_only": Reason(
        403,
        "居民只能以“本人查看”为由查看自己上报的事项。",
        "A resident may look at the own report only, and as such.",
    ),
    "privacy.reason_missing": Reason(
        422, "以此用途查看须说明原因。", "This purpose needs a reason."
    ),
    "privacy.no_fields": Reason(
        422, "请至少选择一项要查看的内容。", "Name at least one thing to be shown."
    ),
    "privacy.already_asked": Reason(
        409,
        "此人已有一项删除申请待批。",
        "A request to forget this person is waiting already.",
    ),
    "privacy.nothing_asked": Reason(
        409,
        "此人没有待批的删除申请。",
        "No request to forget this person is waiting.",
    ),
    "privacy.second_person": Reason(
        403,
        "申请人不能批准自己的删除申请，须由另一人批准。",
        "The one who asked to forget a person cannot approve it; another person must.",
    ),
    "privacy.nothing_new": Reason(
        409,
        "此人已删除，此后没有新的事项；如需再次删除，请在申请时指明事项。",
        "This person was forgotten and has no new case since; name the cases when asking, if any.",
    ),
    # attachments
    "attachment.unknown": Reason(404, "此事项没有这个附件。", "The case has no such attachment."),
    "attachment.missing": Reason(
        404,
        "附件内容不在存储中（演示数据或导入的事项没有附件内容）；如曾正常上传，请告知管理员。",
        "The content is not in the store (sample and imported cases have none); if it was "
        "uploaded, tell your administrator.",
    ),
    "attachment.no_thumbnail": Reason(
        404, "此附件没有缩略图，请下载查看。", "This attachment has no thumbnail; download it."
    ),
    "attachment.forgotten": Reason(
        410,
        "附件内容已随个人信息一并删除，无法恢复。",
        "The content was erased with the personal data of the case, for good.",
    ),
    "attachment.empty": Reason(422, "文件是空的。", "The file is empty."),
    "attachment.type": Reason(
        415,
        "不支持此类文件。可上传：图片（jpg、png、webp、gif、heic）、pdf、视频 mp4、"
        "音频（mp3、m4a、wav、amr）、不含宏的 docx、xlsx、pptx，以及 UTF-8 纯文本。",
        "Files of this kind are not taken. Send pictures (jpg, png, webp, gif, heic), pdf, mp4, "
        "sound (mp3, m4a, wav, amr), docx, xlsx, pptx without macros, or plain UTF-8 text.",
    ),
    "attachment.broken": Reason(
        422,
        "图片已损坏或不完整，请重新拍摄或导出后再上传。",
        "The picture is broken or incomplete; take or export it again.",
    ),
    "attachment.pixels": Reason(
        422,
        "图片像素过大，无法处理，请缩小后再上传。",
        "The picture has too many pixels; make it smaller and send it again.",
    ),
    "attachment.interrupted": Reason(
        400, "上传中断，文件未保存，请重新上传。", "The upload broke off; send the file again."
    ),
    "attachment.slow": Reason(
        408,
        "上传超时，文件未保存，请检查网络后重试。",
        "The upload took too long; check the network and send the file again.",
    ),
    "attachment.damaged": Reason(
        500,
        "存储中的附件已损坏或被改动，请告知管理员从备份恢复。",
        "The stored file is damaged or was changed; tell your administrator to restore it.",
    ),
    "attachment.busy": Reason(
        503,
        "正在处理的文件较多，请稍后重试。",
        "Too many files are on their way; please try again soon.",
    ),
    "attachment.unavailable": Reason(
        503,
        "附件存储暂时不可用，文件未保存或无法读取，请稍后重试。",
        "The store of attachments is not available right now; please try again soon.",
    ),
    # cases
    "case.unknown": Reason(404, "没有这个事项：{case}。", "There is no such case: {case}."),
    "case.exists": Reason(
        409, "该编号已有事项：{case}。", "A case with this id exists already: {case}."
    ),
    "case.not_allowed": Reason(
        409,
        "事项处于“{state}”状态，不能执行“{command}”。",
        "A case that is {state} does not allow this: {command}.",
    ),
    "case.import_only": Reason(
        403,
        "只有数据迁移可以附带原系统凭据或原定时限。",
        "Only an import may carry an old system's evidence or deadline.",
    ),
    "case.time_order": Reason(
        409,
        "时间早于该事项的最后一步（{last}）。",
        "The time lies before the case's last step ({last}).",
    ),
    "case.text_missing": Reason(422, "请填写“{field}”。", "Please fill in {field}."),
    "case.in_future": Reason(
        422, "“{field}”不能晚于现在。", "This cannot lie in the future: {field}."
    ),
    "case.in_past": Reason(422, "“{field}”必须晚于现在。", "This must lie in the future: {field}."),
    "case.only_small": Reason(
        403,
        "网格员只能在本网格自行立案小事，请交受理员立案。",
        "A grid worker may file small matters of the own grid only; leave this one to an acceptor.",
    ),
    "case.due_before_filing": Reason(
        422,
        "原定时限早于立案时间。",
        "The old system's deadline lies before the filing.",
    ),
    "case.same_category": Reason(
        409,
        "事项已属该类别：{category}。",
        "The case is of this category already: {category}.",
    ),
    "case.already_dispatched": Reason(
        409,
        "该事项已派遣到具体单位或人员，请改用转派。",
        "The case was dispatched to a unit or worker already; transfer it instead.",
    ),
    "case.transfer_limit": Reason(
        409,
        "本轮转派已达 {limit} 次，请上报上级协调。",
        "Transferred {limit} times in this episode already; escalate it instead.",
    ),
    "case.already_yours": Reason(409, "该事项已由您处置。", "You are handling this case already."),
    "case.automatic_reason": Reason(
        422,
        "超期由系统自动上报，请选择其他原因。",
        "A breach of the deadline is escalated automatically; give another reason.",
    ),
    "case.top_tier": Reason(
        409,
        "已在最高层级，无法再上报。",
        "The case is at the top tier; it cannot go further up.",
    ),
    "case.not_up": Reason(422, "上报只能到更高层级。", "An escalation must go to a higher tier."),
    "case.tier_step": Reason(422, "一次只能上报或下派一级。", "One move goes one tier only."),
    "case.bottom_tier": Reason(
        409,
        "已在该地点的最低层级，无法再下派。",
        "The case is at the lowest tier of its place; it cannot go further down.",
    ),
    "case.not_down": Reason(422, "下派只能到更低层级。", "A return must go to a lower tier."),
    "case.return_limit": Reason(
        409,
        "该事项已下派 {limit} 次，由本级兜底办理。",
        "Returned {limit} times already; this tier keeps the case.",
    ),
    "case.nobody_called": Reason(
        422, "请至少选择一个被吹哨单位。", "Name at least one unit to call."
    ),
    "case.already_called": Reason(
        409,
        "该单位已被吹哨或重复：{unit}。",
        "This unit has been called already, or stands twice: {unit}.",
    ),
    "case.not_your_unit": Reason(
        403,
        "这一步应由单位 {unit} 的人员办理。",
        "This step belongs to somebody of the unit {unit}.",
    ),
    "case.not_called": Reason(
        409,
        "该单位没有待报到的吹哨：{unit}。",
        "No call to this unit is waiting: {unit}.",
    ),
    "case.child_cannot_split": Reason(409, "子事项不能再拆分。", "A child cannot be split again."),
    "case.split_in_two": Reason(
        422,
        "拆分至少需要两个不同编号的子事项。",
        "A split needs at least two children with different ids.",
    ),
    "case.into_itself": Reason(422, "事项不能并入自身。", "A case cannot be merged into itself."),
    "case.open_children": Reason(409, "还有未办结的子事项。", "Some children are still open."),
    "case.child_awaited": Reason(
        409,
        "事项 {parent} 须等该子事项办结，只能并入 {parent} 本身或其另一须办结的子事项。",
        "The case {parent} waits for this child: merge it into {parent} itself or into another of"
        " its required children.",
    ),
    "case.not_a_child": Reason(
        409, "{child} 不是该事项的子事项。", "{child} is not a child of this case."
    ),
    "case.already_asked": Reason(
        409, "已有一项申请待批：{what}。", "A request is waiting already: {what}."
    ),
    "case.nothing_asked": Reason(
        409,
        "没有待批的此类申请。",
        "Nothing of this kind is waiting for a decision.",
    ),
    "case.second_person": Reason(
        403,
        "申请人不能批准自己的申请，须由另一人批准。",
        "The one who asked cannot approve; another person must.",
    ),
    "case.park_in_past": Reason(
        422,
        "挂账到期日必须晚于现在。",
        "The end of a parking must lie in the future.",
    ),
    "case.park_cap": Reason(
        409,
        "累计挂账将超过 {days} 天的上限。",
        "Parking would exceed the cap of {days} days.",
    ),
    "case.no_deadline": Reason(409, "该事项没有办理时限。", "The case has no deadline."),
    "case.bad_extension": Reason(
        422,
        "延时须为 1 至 10000，当日办结须为 1。",
        "An extension goes from 1 to 10000; same day is 1.",
    ),
    "case.extension_limit": Reason(
        409, "延时已达 {limit} 次上限。", "Extended {limit} times already."
    ),
    "case.breach_recorded": Reason(
        409,
        "本轮超期已记录。",
        "The breach of this episode is on record already.",
    ),
    "case.not_due": Reason(409, "尚未到期。", "The due has not passed."),
    "case.due_passed": Reason(
        409, "时限已过，不再催办。", "The due has passed; there is nothing to remind of."
    ),
    "case.reminded": Reason(
        409, "本轮已催办。", "The handler was reminded in this episode already."
    ),
    "case.source_not_yours": Reason(
        403,
        "您的角色不能以“{source}”为来源上报。",
        "Your role does not report what came by this way: {source}.",
    ),
    "case.too_early": Reason(
        409, "时间未到，{at} 起方可执行。", "It is too early; this may be done from {at} on."
    ),
    "case.reopening_ended": Reason(
        409, "重办期满已记录。", "The end of the time for reopening is on record already."
    ),
    "case.not_handler": Reason(
        403, "只有当前处置人可以执行此操作。", "Only the present handler may do this."
    ),
    "case.not_yours": Reason(
        403, "该事项派给了 {worker}。", "The case was dispatched to {worker}."
    ),
    "case.worker_cannot_accept": Reason(
        422,
        "{worker} 不能签收该事项：没有责任属地的处置角色，或不是所选单位的人员。",
        "{worker} could not accept the case: no role to handle it in the responsible territory, or"
        " not of the unit.",
    ),
    "case.no_evidence": Reason(422, "处置反馈须附证据。", "A resolution needs evidence."),
    "case.checker_is_handler": Reason(
        403,
        "处置人不能核查自己的事项。",
        "The handler cannot check the own case.",
    ),
    "case.refuser_unnamed": Reason(
        422,
        "以“非本单位职责”结案须写明由谁认定。",
        "Closing as not ours must name who said so.",
    ),
    "case.caller_is_handler": Reason(
        403,
        "处置人不能回访自己的事项。",
        "The handler cannot call back on the own case.",
    ),
    "case.callback_window": Reason(
        409,
        "已超过结案后 {days} 天的回访期限。",
        "The {days} days for callbacks after closing have passed.",
    ),
    "case.callback_limit": Reason(
        409, "回访已达 {limit} 次上限。", "Called back {limit} times already."
    ),
    "case.callback_answer": Reason(
        422,
        "联系上居民时须记录是否解决，未联系上时不得填写。",
        "Say whether it is solved when the resident was reached, and only then.",
    ),
    "case.not_reporter": Reason(
        403,
        "居民只能对自己上报的事项执行此操作。",
        "A resident may do this on the own report only.",
    ),
    "case.reopen_window": Reason(
        409,
        "已超过结案后 {days} 天的重办期限。",
        "The {days} days for reopening after closing have passed.",
    ),
    "case.unit_not_competent": Reason(
        422,
        "该单位无权办理此地点或类别：{unit}。",
        "The unit is not competent for this place or category: {unit}.",
    ),
    "case.unit_wrong_tier": Reason(
        422,
        "单位 {unit} 不在事项当前层级（{tier}）。",
        "The unit {unit} is not of the case's tier ({tier}).",
    ),
}

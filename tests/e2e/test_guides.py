"""Each guide in ``docs/guide`` is done as it is written, by somebody who is new.

A step here names the words that the guide quotes, in their order; see ``reader``.
"""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from playwright.sync_api import expect

from domain.calendar import office_time
from infra import demo_map
from tests.e2e.conftest import Begin
from tests.e2e.office import PASSWORD
from tests.e2e.reader import Reader
from tests.e2e.visit import DESK, PHONE

GRID: Final = "qinghe/liuyin/dongfeng/g1/"
SQUARE: Final = "118.40 39.70\n118.41 39.70\n118.41 39.71\n118.40 39.71"
"""A boundary far from the others: longitude and latitude of its corners."""

DAYS: Final = timedelta(days=1)


def new(name: str) -> str:
    """A name that nobody has yet."""
    return f"{name}-{uuid.uuid4().hex[:6]}"


def clock(at: datetime) -> str:
    """As a field for date and time takes it."""
    return f"{office_time(at):%Y-%m-%dT%H:%M}"


def reported(r: Reader, by: str = "grid-worker", **more: Any) -> str:
    """A case of the first grid; filed, if a category is given."""
    body = {"territory": GRID, "source": "grid_worker", "description": "楼道堆放旧家具"} | more
    case: str = r.meanwhile(by, "/cases", **body)["case"]
    return case


def filed_big(r: Reader) -> str:
    """A big matter of the first grid, that the community handles."""
    known = {"name": "王小明", "phone": "13800000000"}
    case = reported(r, "hotline", source="hotline", description="油烟扰民", reporter=known)
    r.meanwhile("acceptor", f"/cases/{case}/file", category="cooking_fumes")
    return case


def dispatched(r: Reader, **body: Any) -> str:
    """A small matter of the first grid that waits to be accepted."""
    case = reported(r, category="corridor_clutter")
    r.meanwhile("dispatcher", f"/cases/{case}/dispatch", **body)
    return case


def closed(r: Reader) -> str:
    """A small matter of the first grid that is done."""
    case = dispatched(r)
    r.meanwhile("grid-worker", f"/cases/{case}/accept")
    r.meanwhile("grid-worker", f"/cases/{case}/resolve", evidence=["照片：楼道已清空"])
    r.meanwhile("supervisor", f"/cases/{case}/check", passed=True)
    r.meanwhile("shift-lead", f"/cases/{case}/close", outcome="resolved")
    return case


def test_the_guide_of_the_grid_worker(visit: Begin, office: str) -> None:
    shown = visit(None, size=PHONE)
    longitude, latitude = demo_map.spot(0, 0, 8, 0.5, 0.5)
    shown.context.grant_permissions(["geolocation"])
    shown.context.set_geolocation({"longitude": longitude, "latitude": latitude})
    shown.page.goto(f"{office}/")
    r, me = Reader("grid-worker.md", shown), new("worker")
    known = {"grants": [{"role": "grid_worker", "territory": GRID}], "password": PASSWORD}
    r.meanwhile("administrator", "/staff/users", id=me, name="新来的", **known)

    r.part("一、登录")
    r.step(1).type("用户名", me).type("密码", PASSWORD).press("登录")
    r.step(2).see("工作台", "工作台", "上报", "更多")

    r.part("二、上报一件事")
    r.step(1).press("上报")
    r.step(2).attach("拍照").attach("从相册选择")
    r.step(3).press("定位").see("所在网格")
    r.step(4).type("具体位置", "3 号楼 2 单元").type("问题描述", "楼道堆放旧家具")
    r.step(5).type("事项类别", "lddw").press("楼道堆物")
    r.step(6).press("反映人信息").type("姓名", "王小明").type("电话", "13800000000")
    r.step(7).press("上报并立案")
    r.step(8).see("已上报并立案").press("查看事项")
    case = shown.page.url.rsplit("/", 1)[-1]

    r.part("三、没有信号时")
    shown.expected.append("ERR_INTERNET_DISCONNECTED")
    shown.context.set_offline(True)
    r.step(1).press("上报").see("无网络")
    r.step(2).type("问题描述", "路灯不亮").press("上报")
    r.step(3).see("待发").press("立即发送")
    shown.context.set_offline(False)
    r.step(4).see("已上报")

    r.part("四、签收、办理、反馈")
    r.meanwhile("dispatcher", f"/cases/{case}/dispatch")
    r.step(1).press("工作台").see("待我处理")
    r.open_case(case).step(2).press("签收").send("签收")
    r.step(3).attach("拍照").attach("上传照片或文件")
    r.step(4).press("处置反馈").type("证据", "照片：楼道已清空").send("处置反馈")
    r.step(5).see("待核查")

    r.part("五、办不了，上报上级")
    case = dispatched(r)
    r.go(f"/cases/{case}")
    r.step(1).press("上报上级")
    r.step(2).choose("上报原因", "力量不足").type("说明", "缺叉车").send("上报上级")
    r.step(3).see("社区")

    r.part("六、要等一等，要多几天")
    case = dispatched(r, worker=me)
    r.go(f"/cases/{case}")
    r.meanwhile(me, f"/cases/{case}/accept")
    r.go(f"/cases/{case}")
    until = clock(datetime.now(UTC) + 3 * DAYS)
    r.step(1).press("申请挂账").type("挂账至", until).type("挂账原因", "等配件").send("申请挂账")
    r.meanwhile("dispatcher", f"/cases/{case}/decline", reason="已有配件")
    r.go(f"/cases/{case}")
    r.step(2).press("申请延时").type("延长", "1").type("延时原因", "要约人").send("申请延时")

    r.part("七、给同事留话")
    r.step(1).type("备注", "周三上门").press("添加备注")

    r.part("八、改密码、退出")
    r.step(1).press("更多").type("现在的密码", PASSWORD).type("新密码", changed := new("pass"))
    r.press("修改密码")
    r.step(2).type("用户名", me).type("密码", changed).press("登录")
    r.step(3).press("更多").press("退出登录")
    r.end()


def test_the_guide_of_the_caseworkers(visit: Begin, office: str) -> None:
    shown = visit(None, size=DESK)
    shown.page.goto(f"{office}/")
    r = Reader("caseworker.md", shown)

    r.part("一、看工作台")
    r.step(1).type("用户名", "dispatcher").type("密码", PASSWORD).press("登录")
    r.step(2).see("待我处理", "即将超期", "待核查", "退回", "全部在办", "已办").press("全部在办")
    r.step(3)
    shown.page.locator("#cases a.open").first.click()
    r.press("打开")
    r.step(4).press("工作台").press("筛选").choose("类别", "楼道堆物")
    r.step(5).press("存为视图").type("名称", "楼道").send("保存")
    r.step(6).press("清除筛选")
    r.step(7).strike("j", "k", "x", "Escape", "e")
    shown.page.wait_for_url("**/cases/*")
    r.go("/worklist")
    r.step(8).strike("/").type("搜索", "楼道")
    r.step(9).press("快捷键").press("关闭")
    r.step(10).strike("Control+k")
    expect(shown.page.locator("#palette")).to_be_visible()

    r.part("二、受理员：核实、立案")
    case, other = reported(r), reported(r)
    r.begin(visit("acceptor"))
    r.go(f"/worklist?find={case}")
    r.step(1).see("待我处理", "待受理")
    r.open_case(case).step(2).press("核实").type("说明", "属实").send("核实")
    r.step(3).press("立案").choose("事项类别", "油烟扰民").send("立案")
    r.go(f"/cases/{other}")
    r.step(4).press("不予立案").type("不予立案的原因", "重复来电").send("不予立案")

    r.part("三、派遣员：派遣、转派、批准")
    word = new("批量")
    for _ in range(2):
        reported(r, category="corridor_clutter", description=word)
    r.begin(visit("dispatcher"))
    r.go(f"/cases/{case}")
    r.step(1).see("待派遣").press("派遣").choose("责任单位", "东风社区综合服务队").send("派遣")
    r.step(2).press("转派").choose("责任单位", "不指定", quoted=False)
    r.see("网格员").type("转派原因", "先由社区签收").send("转派")
    r.go(f"/worklist?find={word}")
    r.step(3).press("选择本页").press("派遣")
    expect(r.page.get_by_text("没有符合条件的事项")).to_be_visible()
    r.meanwhile("handler", f"/cases/{case}/accept")
    more = {"amount": 1, "unit": "wd"}
    r.meanwhile("handler", f"/cases/{case}/ask-extension", more=more, reason="要约人")
    r.go("/worklist?view=open")
    r.step(4).press("筛选").choose("待批申请", "延时")
    r.open_case(case).step(5).press("批准延时").send("批准延时")
    r.meanwhile("handler", f"/cases/{case}/ask-extension", more=more, reason="还要约人")
    r.go(f"/cases/{case}")
    r.step(6).press("不同意申请").type("不同意的原因", "已经够了").send("不同意申请")

    r.part("四、处置人员：签收、处置、反馈")
    case = filed_big(r)
    r.meanwhile("dispatcher", f"/cases/{case}/dispatch", unit="dongfeng-service")
    r.begin(visit("handler"))
    r.go(f"/worklist?find={case}")
    r.step(1).see("待我处理").open_case(case).press("签收").send("签收")
    r.step(2).attach("上传照片或文件")
    r.step(3).press("处置反馈").type("证据", "照片：已清洗油烟管道").send("处置反馈")
    r.step(4).see("待核查")

    r.part("五、督查员：核查")
    failed = filed_big(r)
    r.meanwhile("dispatcher", f"/cases/{failed}/dispatch", unit="dongfeng-service")
    r.meanwhile("handler", f"/cases/{failed}/accept")
    r.meanwhile("handler", f"/cases/{failed}/resolve", evidence=["照片"])
    r.begin(visit("supervisor"))
    r.go("/worklist")
    r.step(1).press("待核查").open_case(case)
    r.step(2).press("核查").press("通过").send("核查")
    r.go(f"/cases/{failed}")
    r.step(3).press("核查").press("不通过，返工").type("核查说明", "管道仍漏油").send("核查")

    r.part("六、值班长：结案")
    r.begin(visit("shift-lead"))
    r.go(f"/cases/{case}")
    r.step(1).see("待结案").press("结案").choose("结案结果", "已解决").send("结案")

    r.part("七、回访员：回访、评价")
    r.begin(visit("callback-desk"))
    r.go(f"/cases/{case}")
    r.step(1).see("已结案").press("查看个人信息").press("回访").press("查看")
    expect(r.page.get_by_text("13800000000").first).to_be_visible()
    r.step(2).press("回访")
    for question in ("联系上居民", "居民认为已解决（联系上时必填）"):
        r.see(question).press("是", within=question)
    r.send("回访").step(3).press("评价")
    for question in ("问题是否已解决", "是否满意"):
        r.see(question).press("是", within=question)
    r.send("评价")

    r.part("八、统筹员：吹哨、下派、并案")
    case, double = dispatched(r), reported(r, category="corridor_clutter")
    r.begin(visit("coordinator"))
    r.go(f"/cases/{case}")
    until = clock(datetime.now(UTC) + DAYS)
    r.step(1).press("吹哨").press("柳荫街道城管中队").type("吹哨事由", "一起清理")
    r.type("报到期限", until).send("吹哨")
    r.step(2).press("报到").choose("单位", "柳荫街道城管中队", quoted=False).send("报到")
    r.meanwhile("grid-worker", f"/cases/{case}/escalate", reason="resources")
    r.meanwhile("handler", f"/cases/{case}/escalate", reason="resources")
    r.go(f"/cases/{case}")
    r.step(3).press("下派").type("下派要求", "社区组织清理").send("下派")
    r.go(f"/cases/{double}")
    r.step(4).press("并案").type("保留的事项编号", case).send("并案")
    r.end()


def test_the_guide_of_the_supervisor(visit: Begin) -> None:
    r = Reader("supervisor.md", visit("supervisor", size=DESK))
    r.go("/worklist")
    past = clock(datetime.now(UTC) - 14 * DAYS)

    r.part("一、看指标，点到事项")
    r.step(1).press("指标").see("属地").choose("时段", "本年").press("统计")
    r.step(2).see("小事不出网格率").press("口径")
    r.step(3)
    r.page.locator("[data-figure^='containment.'] .made a").first.click()
    r.see("分子", "分母", "除外").press("除外")
    r.step(4).press("指标").press("表格")
    r.step(5).press("报表").download("XLSX")

    r.part("二、时光回溯：当时是什么数")
    r.step(1).see("指标", "时光回溯").type("或日期时间", past).press("回到这一刻")
    r.step(2).see("历史时点，只读").press("回到现在")
    r.step(3).type("比较：甲时点", past).press("比较两个时点").see("乙比甲")

    r.part("三、时光回溯：一件事项当时的样子")
    case = closed(r)
    r.go(f"/cases/{case}")
    r.step(1).see("办理过程").press("时光回溯").type("回到第几步", "3").press("查看")
    r.step(2).see("历史快照，只读").press("与现在比较").see("有变化")

    r.part("四、审计：谁在何时做了什么")
    r.step(1).press("审计").choose("操作", "上报上级").press("查询")
    r.step(2)
    r.page.locator("table.trail tbody a").first.click()
    r.see("前后对比").press("原始 JSON")
    r.step(3).press("其全部记录")
    r.step(4).download("导出 CSV")

    r.part("五、重办")
    r.go(f"/cases/{case}")
    r.step(1).press("重办").type("重办原因", "又堆上了").send("重办")

    r.part("六、查看个人信息")
    r.step(1).press("查看个人信息").press("审计").type("原因", "抽查").press("查看")
    expect(r.page.locator("dialog[open]")).to_have_count(0)
    r.step(2).press("审计").press("个人信息查看记录")
    expect(r.page.get_by_role("link", name=case).first).to_be_visible()

    r.part("七、系统在不在跟进")
    r.step(1).press("投影运维").see("读模型", "跟进中")
    r.step(2).see("待自动办理", "消息推送")
    r.end()


def test_the_guide_of_the_administrator(visit: Begin) -> None:
    r = Reader("administrator.md", visit("administrator", size=DESK))
    r.go("/worklist")

    r.part("一、属地和网格地图")
    r.step(1).press("管理").see("属地").press("柳荫街道").press("东风社区").see(
        "网格图", "下级属地"
    )
    grid = new("g")
    r.step(2).press("设立下级").type("编号", grid).type("名称", f"新网格{grid}")
    r.see("生效日期").send("设立")
    r.page.get_by_role("link", name=f"新网格{grid}").first.click()
    r.step(3).press("指定网格员").choose("人员", "刘建国 · grid-worker", quoted=False).send("指定")
    r.step(4).press("入户登记").type("户数", "120").type("人数", "300").send("登记")
    r.step(5).press("画一个方块").type("坐标", SQUARE).press("保存边界")
    r.step(6).press("更名").type("新名称", f"改名{grid}").send("更名").see("沿革")

    r.part("二、事项类别与时限")
    code = new("kind")
    r.step(1).press("管理").press("事项类别与时限")
    r.step(2).press("新增类别").type("编号", code).type("中文名称", "共享单车乱停")
    r.type("英文名称", "Shared bicycles").see("大小").type("办理时限", "2").type("首次联系", "1")
    r.send("保存")
    r.step(3).press("修改", within=code).type("办理时限", "3").send("保存")
    r.step(4).press("停用", within=code).send("停用")
    r.step(5).see("到期提醒").type("提前小时数", "24").press("保存提醒")

    r.part("三、日历：每年公布放假安排后")
    r.step(1).press("管理").press("日历")
    r.go("/administration/calendar?year=2029")
    r.step(2).press("公布年度安排").type("年份", "2029").type("放假", "2029-01-01")
    r.type("调休上班", "2029-01-06").send("公布")
    r.step(3).press("临时调整").type("日期", "2029-03-05").press("不上班").type("原因", "停电")
    r.send("确定")
    r.step(4).press("工作时段").type("每行一段", "08:30-12:00\n14:30-18:00")
    r.type("自何日起", "2029-05-01").send("保存")
    r.step(5).see("推算时限").type("自何时起", "2026-12-01T09:00").type("数量", "2").press("推算")
    expect(r.page.locator("#reckoned")).to_contain_text("2026年12月3日")

    r.part("四、人员与角色")
    user = new("li")
    r.step(1).press("管理").press("人员与角色")
    r.step(2).press("新增人员").type("用户名", user).type("姓名", f"李敏{user}")
    r.choose("角色", "网格员", quoted=False).type("属地", GRID).type("初始密码", PASSWORD)
    r.send("新增")
    r.step(3)
    r.page.get_by_placeholder("姓名或用户名").fill(user)
    r.press("查找")
    r.page.get_by_role("link", name=f"李敏{user}").click()
    r.see("角色与属地")
    r.step(4).press("授权").choose("角色", "受理员", quoted=False).type("属地", GRID).send("授权")
    r.step(5).press("撤销", within="受理员")
    r.step(6).press("重设密码").type("新密码", new("pass")).send("重设")
    r.step(7).press("调动").choose("调入单位", "东风社区综合服务队", quoted=False).send("调动")
    expect(r.page.locator("#person .facts")).to_contain_text("东风社区综合服务队")
    r.step(8).press("停用").type("原因", "调离").send("停用")

    r.part("五、推送给其他系统")
    hook = new("hook")
    r.step(1).press("投影运维").see("消息推送").press("新增接收方")
    r.step(2).type("编号", hook).type("地址", "https://hook.invalid/").see("属地").press("新增")
    r.step(3).see("密钥只显示这一次").press("已保存")
    r.step(4).press("删除", within=hook).send("删除")

    r.part("六、删除一个人的个人信息")
    mine, approved, declined = (new("p") for _ in range(3))
    for person in (approved, declined):
        path = f"/people/{person}/forget/ask"
        r.meanwhile("supervisor", path, territory="qinghe/liuyin/", reason="request")
    r.step(1).press("管理").press("删除个人信息")
    r.step(2).press("申请删除").type("上报人编号或用户名", mine)
    r.choose("属地", "全部属地", quoted=False).choose("原因", "误录", quoted=False).send("申请")
    r.page.on("dialog", lambda question: question.accept())
    r.step(3).press("批准删除", within=approved)
    expect(r.page.locator("tr").filter(has_text=approved)).to_contain_text("已删除")
    r.step(4).press("不同意", within=declined)
    expect(r.page.locator("tr").filter(has_text=declined)).to_contain_text("未获同意")
    r.press("撤回", within=mine)
    expect(r.page.locator("tr").filter(has_text=mine)).to_contain_text("未获同意")
    r.end()

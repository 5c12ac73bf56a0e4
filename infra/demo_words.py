"""The words of the sample district: names, places, units, and what residents report."""

from typing import Final

COMMUNITIES: Final = (
    ("dongfeng", "东风"),
    ("xiangyang", "向阳"),
    ("heping", "和平"),
    ("xinhua", "新华"),
    ("guangming", "光明"),
    ("wenchang", "文昌"),
)
NUMERALS: Final = "一二三四五六七八"
ROADS: Final = ("柳荫路", "清河大街", "文化路", "建设北路", "青年街", "胜利巷", "学院路", "河滨道")
SURNAMES: Final = tuple("王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗")
GIVEN_NAMES: Final = (
    "秀英", "建国", "桂兰", "志强", "丽华", "海燕", "文斌", "晓东", "玉梅", "国庆",
    "春生", "雪梅", "俊杰", "婷婷", "永福", "淑珍", "浩然", "子涵", "立新", "红霞",
)  # fmt: skip

UNITS: Final = (
    ("city-management", "柳荫街道城管中队", "qinghe/liuyin/", ()),
    ("property-office", "柳荫街道物业管理办公室", "qinghe/liuyin/", ()),
    ("safety-office", "柳荫街道应急安全办公室", "qinghe/liuyin/", ()),
    ("housing-bureau", "区住房和城乡建设局", "qinghe/", ()),
    ("water-bureau", "区水务局", "qinghe/", ()),
)
"""Id, name, territory and categories (none: all) of the units above the communities."""

DESCRIPTIONS: Final[dict[str, tuple[str, ...]]] = {
    "exposed_garbage": (
        "单元门口垃圾堆放多日无人清理，异味明显",
        "垃圾桶满溢，周边散落生活垃圾",
        "绿化带内有大量塑料袋和快餐盒",
    ),
    "dirty_road": (
        "小区主路泥土较多，下雨后泥泞难行",
        "路面有大片油污，行人易滑倒",
        "落叶长期无人清扫",
    ),
    "construction_waste": (
        "装修垃圾堆放在楼下占用通道",
        "废弃砖块和水泥袋堆在路边一周未清运",
        "有人夜间偷倒建筑垃圾",
    ),
    "muck": ("工地车辆带泥上路，沿途抛洒渣土", "空地上堆放渣土未覆盖，刮风扬尘"),
    "green_space_cleaning": ("绿地内宠物粪便较多", "草坪上烟头、纸屑无人打扫"),
    "green_space_upkeep": ("行道树枝条遮挡路灯，需要修剪", "草坪枯死露土，希望补种"),
    "road_flooding": ("小区门口积水约十厘米，老人出行困难", "下水口堵塞，路面积水不退"),
    "neighbour_dispute": (
        "楼上漏水，与邻居协商未果",
        "邻居在公共走廊养鸡引发争吵",
        "因停车位与隔壁住户发生纠纷",
    ),
    "corridor_clutter": (
        "三楼楼道堆放旧家具，影响通行",
        "楼道内停放电动车并充电，存在隐患",
        "纸箱堆满消防通道",
    ),
    "noise": (
        "楼下广场舞音量过大，影响休息",
        "隔壁装修晚上十点仍在施工",
        "商铺音响全天播放促销广告",
    ),
    "street_light": (
        "路灯连续三天不亮，夜间出行不便",
        "路灯频闪",
        "楼间小路没有照明",
    ),
    "missing_manhole_cover": ("人行道井盖缺失，已用树枝临时遮挡", "井盖破损松动，车辆经过有响声"),
    "errand_service": ("独居老人请求代买药品", "行动不便居民请求代办老年证"),
    "consultation": ("咨询居住证办理所需材料", "咨询老旧小区改造时间安排", "咨询医保缴费方式"),
    "illegal_construction": ("顶楼住户私自加盖阳光房", "一楼住户占用绿地搭建围栏"),
    "dirty_water": ("景观河水面漂浮垃圾较多，有异味", "河道排水口有疑似污水流出"),
    "property_dispute": (
        "物业费上涨未公示，业主不满",
        "业委会换届程序存在争议",
        "公共收益使用情况长期不公开",
    ),
    "lift_renewal": ("电梯频繁故障困人，居民要求更新", "老旧电梯年检不合格已停运"),
    "water_or_gas_cut": ("整栋楼突然停水，未见通知", "燃气中断，无法做饭"),
    "fire_hazard": ("消防栓无水压", "地下室存放大量易燃物", "安全出口被上锁"),
    "wage_arrears": ("工地拖欠农民工工资三个月", "餐馆关门，员工工资未结清"),
    "cooking_fumes": ("楼下烧烤店油烟直排，无法开窗", "餐饮店油烟净化设备未开启"),
    "petition_backlog": ("回迁安置面积差异问题多年未解决",),
}
"""What is said at a report, by the category it belongs to."""

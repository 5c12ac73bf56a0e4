"""What the rules of the schemas say of a field, in Chinese; in English pydantic says it itself.

The names are pydantic's kinds of errors, and our own of ``api.schemas``; what stands in braces is
what an error tells beside its name.
"""

from collections.abc import Mapping
from typing import Any, Final

ZH: Final = {
    # There, or not to be there
    "missing": "此项必填",
    "missing_argument": "此项必填",
    "extra_forbidden": "没有这一项，请检查名称",
    "unexpected_keyword_argument": "没有这一项，请检查名称",
    "none_required": "应为空",
    "json_invalid": "不是有效的 JSON",
    # Kinds of values
    "string_type": "应为文字",
    "int_type": "应为整数",
    "int_parsing": "应为整数",
    "int_parsing_size": "整数过大",
    "int_from_float": "应为整数，不能有小数",
    "float_type": "应为数字",
    "float_parsing": "应为数字",
    "finite_number": "应为有限的数字",
    "bool_type": "应为 true 或 false",
    "bool_parsing": "应为 true 或 false",
    "list_type": "应为列表",
    "tuple_type": "应为列表",
    "set_type": "应为列表",
    "dict_type": "应为对象",
    "mapping_type": "应为对象",
    "model_type": "应为对象",
    "model_attributes_type": "应为对象",
    "dataclass_type": "应为对象",
    "date_type": "应为日期",
    "date_parsing": "不是有效的日期",
    "date_from_datetime_parsing": "不是有效的日期",
    "date_from_datetime_inexact": "应为日期，不带时间",
    "datetime_type": "应为时间",
    "datetime_parsing": "不是有效的时间",
    "datetime_object_invalid": "不是有效的时间",
    "datetime_from_date_parsing": "不是有效的时间",
    "timezone_aware": "时间应带时区",
    "time_type": "应为钟点",
    "time_parsing": "不是有效的钟点",
    "literal_error": "只能是 {expected} 之一",
    "enum": "只能是 {expected} 之一",
    "union_tag_invalid": "“{tag}”不在允许的种类之列：{expected_tags}",
    "union_tag_not_found": "应以 {discriminator} 说明是哪一种",
    # Lengths and sizes
    "string_too_short": "至少 {min_length} 个字符",
    "string_too_long": "最多 {max_length} 个字符",
    "too_short": "至少 {min_length} 项，现有 {actual_length} 项",
    "too_long": "最多 {max_length} 项",
    "greater_than": "应大于 {gt}",
    "greater_than_equal": "不应小于 {ge}",
    "less_than": "应小于 {lt}",
    "less_than_equal": "不应大于 {le}",
    # Their form
    "string_pattern_mismatch": "格式不符",
    "string_unicode": "含有无法识别的字符",
    "bad_characters": "不能含有控制字符、残缺的字符；单行的文字不能换行",
    "instant": "应为带时区的时间，如 2026-11-22T09:00:00+08:00",
    "instant_range": "年份应在 1950 至 2998 之间",
    "day": "应为日期，如 2026-11-22",
    "day_range": "年份应在 1949 至 2999 之间",
    "limit": "当日办结只算一次，数量应为 1",
    "as_of": "应为日志位置或时间",
}

OTHERWISE: Final = "不符合要求"
"""What a kind of error that is not listed comes to; the English words say more."""


def in_chinese(kind: str, facts: Mapping[str, Any]) -> str:
    """What an error of a kind says. ``facts`` is what it tells beside its name."""
    try:
        return ZH[kind].format_map(facts)
    except KeyError:
        return OTHERWISE

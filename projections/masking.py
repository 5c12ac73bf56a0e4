"""Masks (脱敏): what lists show of personal data, enough to tell cases apart, not to know anybody.

A mask never holds the whole of what it was made from, nor five digits of it in a row. Of nothing
the mask is nothing; of what was forgotten, or was not opened, it is that very word.
"""

import re
from collections.abc import Callable
from typing import Final, TypeAlias

from domain.personal import FORGOTTEN, SEALED

SNIPPET: Final = 12
"""How many characters of a text are shown at most."""

HIDDEN: Final = "****"

_AS_THEY_ARE: Final = frozenset({"", SEALED, FORGOTTEN})

Mask: TypeAlias = Callable[[str], str]

_COMPOUND_SURNAMES: Final = frozenset(
    re.findall(
        "..",
        "欧阳歐陽司马司馬上官诸葛諸葛夏侯皇甫尉迟公孙公孫慕容令狐司徒司空长孙長孫宇文东方東方"
        "南宫南宮西门西門东郭東郭百里呼延端木申屠太史公冶濮阳濮陽独孤獨孤鲜于鮮于仲孙仲孫轩辕軒轅"
        "澹台澹臺赫连赫連钟离鍾離拓跋淳于单于單于完颜完顏纳兰納蘭万俟第五",
    )
)

_LEVEL: Final = re.compile(
    r".*(?:小区|社区|街道|大街|大道|胡同|花园|公寓|[路街村巷弄镇乡苑]"
    r"|\b(?:street|avenue|road|lane|boulevard|drive|place|st|ave|rd|ln|blvd|dr|pl)\b)",
    re.IGNORECASE | re.DOTALL,
)
"""What an address is kept up to: the last neighbourhood, road or village in it."""

_DIGIT: Final = re.compile(r"\d")

_LONG_NUMBER: Final = re.compile(r"\d(?:[\s.\-–—()()]*\d){4,}")
"""Five digits and more, as phones and identity numbers are written, also in groups."""


def name(text: str) -> str:
    """张** for 张三丰: the surname; of a name in another script the first letter."""
    return _masked(text, _name)


def phone(text: str) -> str:
    """138****5678 for a mobile, 010-****1234 for a landline, else nothing of the number."""
    return _masked(text, _phone)


def address(text: str) -> str:
    """幸福路**** for 幸福路 3 号: up to the neighbourhood, road or village, without numbers."""
    return _masked(text, _address)


def snippet(text: str) -> str:
    """The first characters of a text, at most half of it, long numbers masked."""
    return _masked(text, _snippet)


def normal_phone(text: str) -> str:
    """The digits of a phone number, without China's country code; empty where there are none."""
    plain = text.isascii() and text.isdigit()
    digits = text if plain else "".join(str(int(each)) for each in text if each.isdecimal())
    for country in ("0086", "86"):
        # A mobile has 11 digits from 1; a landline is written abroad without its leading zero.
        if digits.startswith(country) and len(digits) - len(country) >= 10:
            digits = digits.removeprefix(country)
            return digits if _is_mobile(digits) or digits.startswith("0") else "0" + digits
    return digits


def _masked(text: str, mask: Mask) -> str:
    if text in _AS_THEY_ARE:
        return text
    # A text of blanks is masked like one that is hidden: empty means that there was nothing.
    bare = text.strip()
    return mask(bare) if bare else HIDDEN


def _name(text: str) -> str:
    if len(text) < 2 or not text[0].isalpha():
        return "**"
    if text[:2] in _COMPOUND_SURNAMES and len(text) > 2:
        return text[:2] + "**"
    return text[0] + "**"


def _phone(text: str) -> str:
    digits = normal_phone(text)
    if _is_mobile(digits):
        return f"{digits[:3]}****{digits[-4:]}"
    if digits.startswith("0"):
        area = 3 if digits[1:2] in ("1", "2") else 4
        if len(digits) - area in (7, 8):
            return f"{digits[:area]}-****{digits[-4:]}"
    return HIDDEN


def _address(text: str) -> str:
    level = _LEVEL.match(text)
    kept = _DIGIT.sub("*", level.group()) if level else ""
    # A road alone may be all there is; then even that is not shown.
    return HIDDEN if kept == text else kept + HIDDEN


def _snippet(text: str) -> str:
    hidden = _LONG_NUMBER.sub(lambda number: "*" * len(number.group()), " ".join(text.split()))
    return hidden[: min(SNIPPET, len(hidden) // 2)] + "…"


def _is_mobile(digits: str) -> bool:
    return len(digits) == 11 and digits[0] == "1" and digits[1] > "2"

"""A mask tells cases apart and nobody's name, number or home."""

import re

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from domain.personal import FORGOTTEN, SEALED
from projections import masking

MASKS = [masking.name, masking.phone, masking.address, masking.snippet]


@pytest.mark.parametrize(
    ("name", "mask"),
    [
        ("张三", "张**"),
        ("张三丰", "张**"),
        (" 王女士 ", "王**"),
        ("欧阳修", "欧阳**"),
        ("諸葛孔明", "諸葛**"),
        ("欧阳", "欧**"),
        ("阿卜杜拉·买买提", "阿**"),
        ("John Smith", "J**"),
        ("张", "**"),
        ("13800000000", "**"),
        ("  ", "****"),
    ],
)
def test_of_a_name_the_surname_is_kept(name: str, mask: str) -> None:
    assert masking.name(name) == mask


@pytest.mark.parametrize(
    ("phone", "mask"),
    [
        ("13812345678", "138****5678"),
        ("138 1234 5678", "138****5678"),
        ("+86 138-1234-5678", "138****5678"),
        ("008613812345678", "138****5678"),
        ("\uff11\uff13\uff1812345678", "138****5678"),
        ("010-87651234", "010-****1234"),
        ("(0571) 8765 1234", "0571-****1234"),
        ("+86 571 8765 1234", "0571-****1234"),
        ("0911-7651234", "0911-****1234"),
        ("12345", "****"),
        ("87651234", "****"),
        ("010-87651234-801", "****"),
        ("+1 212 555 0100", "****"),
        ("无", "****"),
    ],
)
def test_of_a_phone_the_ends_are_kept(phone: str, mask: str) -> None:
    assert masking.phone(phone) == mask


@pytest.mark.parametrize(
    ("address", "mask"),
    [
        ("幸福路 3 号", "幸福路****"),
        ("幸福路3号阳光小区2栋301室", "幸福路*号阳光小区****"),
        ("李家村五组12号", "李家村****"),
        ("三号楼二单元", "****"),
        ("幸福路", "****"),
        ("7 Main Street, Apt 12", "* Main Street****"),
        ("State offices", "****"),
    ],
)
def test_of_an_address_the_neighbourhood_is_kept_without_numbers(address: str, mask: str) -> None:
    assert masking.address(address) == mask


@pytest.mark.parametrize(
    ("text", "mask"),
    [
        ("楼下堆着垃圾", "楼下堆…"),
        ("三号楼楼道里长期堆放杂物，影响通行，请尽快清理干净", "三号楼楼道里长期堆放杂物…"),
        ("电话13812345678请尽快联系我，家里漏水", "电话***********请尽快联系我"[:12] + "…"),
        ("电话138 1234 5678请尽快联系我，家里漏水", "电话**********…"),
        ("垃", "…"),
        ("一\n二\n三\n四", "一 二…"),
    ],
)
def test_of_a_text_the_beginning_is_kept_without_long_numbers(text: str, mask: str) -> None:
    assert masking.snippet(text) == mask


@pytest.mark.parametrize("mask", MASKS)
def test_nothing_stays_nothing_and_what_cannot_be_read_says_so(mask: masking.Mask) -> None:
    for text in ("", SEALED, FORGOTTEN):
        assert mask(text) == text
    assert mask(" \n") == masking.HIDDEN


DIGITS = st.text(st.sampled_from("0123456789+-() 086"), min_size=1, max_size=25)
TEXTS = st.one_of(
    st.text(min_size=1, max_size=60),
    DIGITS,
    st.builds(lambda before, digits, after: before + digits + after, st.text(), DIGITS, st.text()),
    st.text(st.sampled_from("张三欧阳修幸福路小区村号栋 0123456789"), min_size=1, max_size=40),
)


@pytest.mark.parametrize("mask", MASKS)
@given(text=TEXTS)
@example(text="\x1f")  # is white space too
def test_a_mask_holds_neither_the_whole_nor_a_long_number_and_is_never_empty(
    mask: masking.Mask, text: str
) -> None:
    assume(text not in (SEALED, FORGOTTEN))
    made = mask(text)
    assert made
    # A text of nothing but what masks are made of gives nothing away.
    assume(any(not each.isspace() and each not in "*-…" for each in text))
    assert text.strip() not in made
    for number in re.findall(r"(?=(\d{5}))", text):
        assert number not in made
    assert not re.search(r"\d{5}", made)


@given(number=st.from_regex(r"1[3-9][0-9]{9}", fullmatch=True))
def test_a_mobile_is_the_same_however_it_is_written(number: str) -> None:
    parts = f"{number[:3]} {number[3:7]}-{number[7:]}"
    for written in (number, parts, f"+86 {parts}", f"86{number}", f"0086-{number}"):
        assert masking.normal_phone(written) == number


def test_what_has_no_digits_is_no_number() -> None:
    assert masking.normal_phone("无") == ""

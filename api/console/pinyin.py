"""How Chinese words sound, so that they are found by what a keyboard types: 路灯 by "ld"."""

import os
from collections.abc import Sequence
from functools import cache


@cache
def syllables(text: str) -> Sequence[Sequence[str]]:
    """For each character all its readings without tones; what is no Chinese reads as itself."""
    # A fifth of the memory and of the time to load: words would choose among the readings of a
    # character, but somebody who searches may mean any of them.
    os.environ.setdefault("PYPINYIN_NO_PHRASES", "true")
    from pypinyin import Style, pinyin

    return [
        sorted({reading.lower() for reading in pinyin(each, style=Style.NORMAL, heteronym=True)[0]})
        for each in text
    ]

"""What belongs to a person: the marks that the codec looks for.

By the mark such fields are stored encrypted, masked in lists, and shown only to those with a
purpose. Encryption itself lives outside the rules. A text that was stored before its field was
marked is read as it is: a mark changes what is written from then on, and no name or shape.
"""

from dataclasses import dataclass
from typing import Annotated, Final, Literal


@dataclass(frozen=True, slots=True)
class PersonalMark:
    """Marks a field as personal: ``of`` says whose key protects it, the person's or the case's."""

    of: Literal["person", "case"]


OF_PERSON: Final = PersonalMark("person")
OF_CASE: Final = PersonalMark("case")

SEALED: Final = "***"
"""What a personal field reads as where nobody opened it."""

FORGOTTEN: Final = "已删除"
"""What a personal field reads as once its key is destroyed."""

Personal = Annotated[str, OF_PERSON]
"""A name, phone or address: belongs to the person whose id stands beside it."""

FreeText = Annotated[str, OF_CASE]
"""Words somebody typed: may name anybody, so it belongs to the case it was typed into."""

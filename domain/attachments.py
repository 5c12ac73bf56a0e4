"""What a file is, by its content: the kinds that may be attached, and how each is known.

A name and a Content-Type are claims. A kind is found by the signature at the very beginning of the
bytes; what has none of these must be plain text. All else is refused: SVG, HTML and XML run in a
browser, archives and executables hide what they are, documents with macros run in an office.
"""

import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from typing import Final

HEAD: Final = 64
"""Bytes from the beginning that ``kind_of`` needs, or as many as there are."""

LONGEST_NAME: Final = 120
"""Characters of a file's name that are kept when it is handed out."""


class Form(Enum):
    """What has to be looked at beyond the signature."""

    IMAGE = "image"
    """Pixels: can be decoded, gives a thumbnail."""
    OFFICE = "office"
    """A ZIP whose table of contents says which document it is."""
    TEXT = "text"
    """All of it must be text."""
    OTHER = "other"
    """Nothing: handed out as it is, never shown by us."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of file. The first of ``extensions`` is given to a name that has none of them."""

    media_type: str
    extensions: tuple[str, ...]
    form: Form = Form.OTHER


JPEG: Final = Kind("image/jpeg", ("jpg", "jpeg", "jfif"), Form.IMAGE)
PNG: Final = Kind("image/png", ("png",), Form.IMAGE)
WEBP: Final = Kind("image/webp", ("webp",), Form.IMAGE)
GIF: Final = Kind("image/gif", ("gif",), Form.IMAGE)
HEIC: Final = Kind("image/heic", ("heic", "heif"))
PDF: Final = Kind("application/pdf", ("pdf",))
MP4: Final = Kind("video/mp4", ("mp4", "m4v"))
M4A: Final = Kind("audio/mp4", ("m4a",))
MP3: Final = Kind("audio/mpeg", ("mp3",))
WAV: Final = Kind("audio/wav", ("wav",))
AMR: Final = Kind("audio/amr", ("amr",))
DOCX: Final = Kind(
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ("docx",),
    Form.OFFICE,
)
XLSX: Final = Kind(
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", ("xlsx",), Form.OFFICE
)
PPTX: Final = Kind(
    "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ("pptx",),
    Form.OFFICE,
)
TEXT: Final = Kind("text/plain", ("txt", "csv", "md", "log"), Form.TEXT)

KINDS: Final = {
    kind.media_type: kind
    for kind in (
        JPEG, PNG, WEBP, GIF, HEIC, PDF, MP4, M4A, MP3, WAV, AMR, DOCX, XLSX, PPTX, TEXT,
    )
}  # fmt: skip
"""Everything that may be attached, by media type."""

_SIGNATURES: Final = (
    (re.compile(rb"\xff\xd8\xff"), JPEG),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), PNG),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), WEBP),
    (re.compile(rb"GIF8[79]a"), GIF),
    (re.compile(rb"%PDF-\d"), PDF),
    (re.compile(rb"RIFF....WAVE", re.DOTALL), WAV),
    (re.compile(rb"#!AMR(-WB)?\n"), AMR),
    # The tags, or a frame of layer III in MPEG 1, 2 or 2.5.
    (re.compile(rb"ID3[\x02-\x04]|\xff[\xe2\xe3\xf2\xf3\xfa\xfb]"), MP3),
)

_BRANDS: Final = {
    HEIC: (b"heic", b"heix", b"heim", b"heis", b"mif1"),
    M4A: (b"M4A ", b"M4B "),
    MP4: (b"isom", b"iso2", b"iso4", b"iso5", b"iso6", b"mp41", b"mp42", b"avc1", b"M4V "),
}
"""The major brands of files of the ISO base media format, of which each says its own."""

_ZIP: Final = b"PK\x03\x04"


def kind_of(head: bytes) -> Kind | Form | None:
    """The kind that the first ``HEAD`` bytes tell.

    The form alone where the rest must tell (an office document, text), None for what is refused.
    """
    for signature, kind in _SIGNATURES:
        if signature.match(head):
            return kind
    if head[4:8] == b"ftyp":
        return next((k for k, brands in _BRANDS.items() if head[8:12] in brands), None)
    if head.startswith(_ZIP):
        return Form.OFFICE
    return None if b"\0" in head else Form.TEXT


_MAIN_PARTS: Final = {
    b"application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml": DOCX,
    b"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml": XLSX,
    b"application/vnd.openxmlformats-officedocument.presentationml.presentation.main+xml": PPTX,
}
_MACROS: Final = (b"macroenabled", b"vbaproject", b"&", b"<!doctype")
"""What no table of contents of a document without macros holds; entities could spell anything."""


def office_kind(contents: bytes, parts: Collection[str]) -> Kind | None:
    """Which document a ZIP is, by its ``[Content_Types].xml`` and its parts' names.

    None for one with macros, and for what is no such document.
    """
    lowered = contents.lower()
    if any(sign in lowered for sign in _MACROS):
        return None
    if any(name.lower().endswith(("vbaproject.bin", "vbadata.xml")) for name in parts):
        return None
    found = {kind for main, kind in _MAIN_PARTS.items() if b'"' + main + b'"' in contents}
    return found.pop() if len(found) == 1 else None


_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")
_MARKUP: Final = re.compile(
    r"\A\ufeff?\s*(<[!?/a-z]|#!|%!|@echo\b)"
    r"|<(!doctype|\?xml|html|head|body|script|svg|iframe|object|embed|xsl:)",
    re.IGNORECASE,
)


def is_plain_text(text: str) -> bool:
    """Whether a text is for reading: no control characters, and nothing that a program would run.

    A long text may be looked at in parts that overlap by some characters.
    """
    return _CONTROL.search(text) is None and _MARKUP.search(text) is None


def file_name(name: str, kind: Kind) -> str:
    """The name under which a file is handed out: one line, no folders, an extension that is true.

    Invisible characters go too: they can make ``photo\u202egpj.exe`` look like a picture.
    """
    last = re.split(r"[/\\]", name)[-1]
    shown = "".join(
        char for char in last if unicodedata.category(char)[0] not in "CZ" or char == " "
    )
    shown = shown.strip(" .")
    stem, dot, extension = shown.rpartition(".")
    if dot and extension.lower() in kind.extensions:
        return f"{stem[:LONGEST_NAME] or 'attachment'}.{extension.lower()}"
    return f"{shown[:LONGEST_NAME] or 'attachment'}.{kind.extensions[0]}"

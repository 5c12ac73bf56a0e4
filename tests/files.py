"""Small files of every kind that may be attached, and of some that may not; and the real ones."""

import os
import struct
import subprocess
import sys
import zlib
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, Final
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
from PIL import Image

DATA: Final = Path(
    os.environ.get("WANGGE_TEST_DATA") or Path(__file__).parents[1].parent / "shared" / "data"
)

_BASE: Final = "application/vnd.openxmlformats-officedocument"


def real(name: str) -> Path:
    """A file of real input, which is not ours to keep in the project."""
    path = DATA / name
    if not path.exists():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{path} is missing: CI may not be green without the real files")
        pytest.skip(f"{name} is not on this machine (WANGGE_TEST_DATA names its folder)")
    return path


@cache
def demand_printer() -> None:
    """Pango and a Chinese font: a PDF needs them, and not every visitor has them."""
    command = [sys.executable, "-P", "-m", "infra.reports.paper"]
    done = subprocess.run(command, input="<p>网格".encode(), capture_output=True, check=False)
    if done.returncode:
        what = "no PDF can be made here: apt install libpango-1.0-0 libpangoft2-1.0-0"
        what += f" libharfbuzz-subset0 fonts-noto-cjk {done.stderr.decode()[-300:]}"
        if os.environ.get("CI") == "true":
            pytest.fail(what)
        pytest.skip(what)


def picture(form: str = "JPEG", size: tuple[int, int] = (900, 600), **options: Any) -> bytes:
    """A picture whose left half is red and right half blue; ``exif`` and such by name."""
    made = Image.new("RGB", size, "blue")
    made.paste("red", (0, 0, size[0] // 2, size[1]))
    out = BytesIO()
    made.save(out, form, **options)
    return out.getvalue()


def exif(orientation: int = 1) -> Image.Exif:
    """What a telephone writes beside the pixels, place included."""
    made = Image.Exif()
    made[0x0112] = orientation
    made[0x010F] = "SECRETPHONE"
    made.get_ifd(0x8825)[1] = "N"  # GPS
    made.get_ifd(0x8825)[2] = (31.0, 14.0, 7.0)
    return made


def office(part: str = "wordprocessingml.document", *, macros: bool = False) -> bytes:
    """An office document, as far as anybody can tell from its table of contents."""
    contents = f'<Types><Override PartName="/x" ContentType="{_BASE}.{part}.main+xml"/></Types>'
    files = {"[Content_Types].xml": contents, "word/document.xml": "<document/>"}
    if macros:
        files["word/vbaProject.bin"] = "Auto_Open"
    return archive(files)


def archive(files: dict[str, str]) -> bytes:
    """A ZIP."""
    out = BytesIO()
    with ZipFile(out, "w", ZIP_DEFLATED) as made:
        for name, text in files.items():
            made.writestr(name, text)
    return out.getvalue()


def png_bomb(side: int = 60_000) -> bytes:
    """Some kilobytes that say they are a picture of ``side`` × ``side`` pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0)
    rows = zlib.compress(bytes(1_000_000), 9)
    chunks = ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


ALLOWED: Final = {
    "jpeg": (picture("JPEG"), "image/jpeg"),
    "png": (picture("PNG"), "image/png"),
    "webp": (picture("WEBP"), "image/webp"),
    "gif": (picture("GIF"), "image/gif"),
    "heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99), "image/heic"),
    "pdf": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n", "application/pdf"),
    "mp4": (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + bytes(99), "video/mp4"),
    "m4a": (b"\0\0\0\x20ftypM4A \0\0\2\0isomiso2" + bytes(99), "audio/mp4"),
    "mp3": (b"ID3\x04\0\0\0\0\0\0" + bytes(99), "audio/mpeg"),
    "wav": (b"RIFF\x24\0\0\0WAVEfmt " + bytes(99), "audio/wav"),
    "amr": (b"#!AMR\n\x3c" + bytes(99), "audio/amr"),
    "docx": (office(), f"{_BASE}.wordprocessingml.document"),
    "xlsx": (office("spreadsheetml.sheet"), f"{_BASE}.spreadsheetml.sheet"),
    "pptx": (office("presentationml.presentation"), f"{_BASE}.presentationml.presentation"),
    "text": ("三号楼二单元，楼道已清空。\n".encode(), "text/plain"),
}
"""Each with the media type that its content gives it."""

REFUSED: Final = {
    "html": (b"<!DOCTYPE html><script>alert(1)</script>", "attachment.type"),
    "html after words": ("说明".encode() + b"\n<script>alert(1)</script>", "attachment.type"),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>', "attachment.type"),
    "xml": (b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e "x">]><x/>', "attachment.type"),
    "a program": (b"MZ\x90\0\3\0\0\0" + bytes(99), "attachment.type"),
    "another program": (b"\x7fELF\x02\x01\x01\0" + bytes(99), "attachment.type"),
    "a script": (b"#!/bin/sh\nrm -rf /\n", "attachment.type"),
    "zip": (archive({"a.txt": "x"}), "attachment.type"),
    "jar": (archive({"META-INF/MANIFEST.MF": "Main-Class: x"}), "attachment.type"),
    "docx with macros": (office(macros=True), "attachment.type"),
    "docx with something behind it": (office() + b"<script>", "attachment.type"),
    "zip that ends in a lie": (office()[:-22] + b"PK\5\6" + bytes(18), "attachment.type"),
    "zip of a million files": (
        office()[:-22] + struct.pack("<4s4HLLH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 2**31, 0, 0),
        "attachment.type",
    ),
    "old word document": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99), "attachment.type"),
    "words of another encoding": ("楼道".encode("gbk"), "attachment.type"),
    "broken utf-8 far behind": (b"a" * 200_000 + b"\xff", "attachment.type"),
    "gif that is a script": (b"GIF89a/*" + bytes(9) + b"*/=1;alert(1)//", "attachment.broken"),
    "half a picture": (picture("PNG")[:200], "attachment.broken"),
    "bomb": (png_bomb(), "attachment.pixels"),
    "nothing": (b"", "attachment.empty"),
}
"""Each with the code of its refusal."""

"""Which files may be attached, and how they are known."""

import pytest

from domain import attachments as a
from domain.attachments import Form, Kind, file_name, is_plain_text, kind_of, office_kind

HEADS: dict[str, tuple[bytes, Kind | Form | None]] = {
    "jpeg": (b"\xff\xd8\xff\xe0\x00\x10JFIF", a.JPEG),
    "png": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", a.PNG),
    "webp": (b"RIFF\n\x00\n\x00WEBPVP8 ", a.WEBP),
    "gif": (b"GIF89a", a.GIF),
    "old gif": (b"GIF87a", a.GIF),
    "heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", a.HEIC),
    "heif of an iPhone": (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", a.HEIC),
    "pdf": (b"%PDF-1.7\n", a.PDF),
    "mp4": (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41", a.MP4),
    "m4a": (b"\0\0\0\x20ftypM4A \0\0\2\0", a.M4A),
    "mp3 with tags": (b"ID3\x04\0\0", a.MP3),
    "mp3 without": (b"\xff\xfb\x90\x64\0", a.MP3),
    "mp3 of 22 kHz": (b"\xff\xf3\x90\x64\0", a.MP3),
    "wav": (b"RIFF\x24\0\0\0WAVEfmt ", a.WAV),
    "amr": (b"#!AMR\n\x3c", a.AMR),
    "amr, wide band": (b"#!AMR-WB\n\x3c", a.AMR),
    "a zip of any kind": (b"PK\x03\x04\x14\0", Form.OFFICE),
    "words": ("三号楼楼道".encode(), Form.TEXT),
    "avif": (b"\0\0\0\x20ftypavif\0\0\0\0", None),
    "an empty zip": (b"PK\x05\x06" + bytes(18), None),
    "windows program": (b"MZ\x90\0\3\0\0\0", None),
    "linux program": (b"\x7fELF\x02\x01\x01\0", None),
    "old word document": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0", None),
    "utf-16": (b"\xff\xfea\0b\0", None),
}


@pytest.mark.parametrize("name", HEADS)
def test_a_kind_is_known_by_its_first_bytes(name: str) -> None:
    head, expected = HEADS[name]
    assert kind_of(head) == expected


def test_a_signature_counts_at_the_very_beginning_only() -> None:
    assert kind_of(b"<script>\xff\xd8\xff") is Form.TEXT
    assert kind_of(b"\n%PDF-1.7") is Form.TEXT


def contents(*types: str) -> bytes:
    """A table of contents that names these."""
    overrides = "".join(f'<Override PartName="/x" ContentType="{each}"/>' for each in types)
    return f'<?xml version="1.0"?><Types>{overrides}</Types>'.encode()


BASE = "application/vnd.openxmlformats-officedocument"
WORD = f"{BASE}.wordprocessingml.document.main+xml"
SHEET = f"{BASE}.spreadsheetml.sheet.main+xml"
SLIDES = f"{BASE}.presentationml.presentation.main+xml"


@pytest.mark.parametrize(
    ("types", "parts", "expected"),
    [
        ((WORD,), ("word/document.xml",), a.DOCX),
        ((SHEET, f"{BASE}.theme+xml"), (), a.XLSX),
        ((SLIDES,), (), a.PPTX),
        ((), ("classes.dex",), None),
        ((WORD, SHEET), (), None),
        ((WORD, "application/vnd.ms-office.vbaProject"), (), None),
        (("application/vnd.ms-word.document.macroEnabled.main+xml",), (), None),
        ((WORD,), ("word/document.xml", "word/vbaProject.bin"), None),
        ((WORD, "application/vnd.ms-office.vba&#80;roject"), (), None),
    ],
)
def test_an_office_document_is_what_its_table_of_contents_says(
    types: tuple[str, ...], parts: tuple[str, ...], expected: Kind | None
) -> None:
    assert office_kind(contents(*types), parts) == expected


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("张三说：噪音 > 60 分贝，< 70 分贝。\r\n\t附表", True),
        ("a < b", True),
        ("", True),
        ("<html>", False),
        ("\ufeff \n<svg xmlns='x'>", False),
        ("<?xml version='1.0'?>", False),
        ("说明\n<SCRIPT>alert(1)</SCRIPT>", False),
        ("<a href=x>", False),
        ("#!/bin/sh\nrm", False),
        ("%!PS", False),
        ("@echo off", False),
        ("a\0b", False),
        ("\x1b[31m", False),
    ],
)
def test_text_is_for_reading_only(text: str, plain: bool) -> None:
    assert is_plain_text(text) is plain


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("清理后.jpg", a.JPEG, "清理后.jpg"),
        ("IMG_1.JPEG", a.JPEG, "IMG_1.jpeg"),
        ("photo.jpg", a.PDF, "photo.jpg.pdf"),
        ("setup.exe", a.TEXT, "setup.exe.txt"),
        ("../../etc/passwd", a.TEXT, "passwd.txt"),
        ("C:\\temp\\a.png", a.PNG, "a.png"),
        ("photo\u202egpj.exe", a.PNG, "photogpj.exe.png"),
        ('a"; filename="b.html\r\nX: y', a.PDF, 'a"; filename="b.htmlX: y.pdf'),
        (" .. ", a.PNG, "attachment.png"),
        (".png", a.PNG, "png.png"),
        ("字" * 300, a.MP3, "字" * a.LONGEST_NAME + ".mp3"),
        ("字" * 300 + ".mp3", a.MP3, "字" * a.LONGEST_NAME + ".mp3"),
    ],
)
def test_a_file_is_handed_out_under_a_true_name(name: str, kind: Kind, expected: str) -> None:
    assert file_name(name, kind) == expected

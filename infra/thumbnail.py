"""A picture in, a small JPEG of its pixels out: a program of its own, for one picture at a time.

Decoders are the part of a server that hostile files aim at, and a small file can hold a huge
picture. So they run in a process that owns nothing, with a ceiling on memory and time, and whose
memory goes back when it ends.

    python -I thumbnail.py < picture > thumbnail
"""

import resource
import sys
from importlib import import_module
from io import BytesIO
from typing import Final

SIDE: Final = 480
"""Pixels of the longer side, at most."""

MEMORY: Final = 512 * 2**20
"""Bytes of address space."""

SECONDS: Final = 10
"""Processor time."""

PIXELS: Final = 25_000_000
JPEG_PIXELS: Final = 200_000_000
"""Larger pictures are refused. A JPEG is shrunk while it is decoded, so it may be larger."""

TOO_LARGE: Final = 3
NOT_A_PICTURE: Final = 4
"""Exit codes."""

FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF")


def main() -> int:
    """Read standard input, write standard output; the exit code says how it went."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # writes no file whatever happens

    from PIL import Image, ImageOps

    for name in ("Gif", "Jpeg", "Png", "WebP"):
        import_module(f"PIL.{name}ImagePlugin")  # each makes itself known; the others stay away
    Image.MAX_IMAGE_PIXELS = None  # ours is stricter, and no warning
    try:
        picture = Image.open(BytesIO(sys.stdin.buffer.read()), formats=FORMATS)
        allowed = JPEG_PIXELS if picture.format == "JPEG" else PIXELS
        if picture.width * picture.height > allowed:
            return TOO_LARGE
        picture.draft("RGB", (SIDE, SIDE))
        has_alpha = picture.mode in ("P", "PA", "LA", "RGBA", "La", "RGBa")
        pixels = picture.convert("RGBA" if has_alpha else "RGB")
        # Turned as its metadata says while that is still known; small first, for turning copies.
        pixels.thumbnail((SIDE, SIDE))
        turned = ImageOps.exif_transpose(pixels)
        # A new picture knows nothing but its pixels: no place, camera, comment, profile.
        made = Image.new("RGB", turned.size, "white")
        made.paste(turned, mask=turned.getchannel("A") if has_alpha else None)
        out = BytesIO()
        made.save(out, "JPEG", quality=80, optimize=True)
    except MemoryError:
        return TOO_LARGE
    except Exception:  # noqa: BLE001  decoders of hostile files raise anything
        return NOT_A_PICTURE
    sys.stdout.buffer.write(out.getbuffer())
    return 0


if __name__ == "__main__":
    sys.exit(main())

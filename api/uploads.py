"""The one request whose body is a file and not JSON: what the layers around its route must know.

It may be larger than others, is not read before its route reads it, and comes with any media type.
"""

import re
from typing import Final

from starlette.types import Scope

from api.services import API

_PATH: Final = re.compile(rf"{API}/cases/[^/]+/attachments")


def is_upload(scope: Scope) -> bool:
    """Whether a request brings a file."""
    path: str = scope["path"]
    if not path.endswith("/attachments"):
        return False  # asked of every request, more than once
    return scope["method"] == "POST" and _PATH.fullmatch(path) is not None

"""A request's headers by name, looked through once."""

from starlette.types import Scope


def header(scope: Scope, name: bytes) -> str | None:
    """A header by its name in lower case, None where it is not there. Of several the first counts,
    as with the framework's own."""
    known: dict[bytes, bytes] | None = scope.get("wangge.headers")
    if known is None:
        known = scope["wangge.headers"] = dict(reversed(scope["headers"]))
    value = known.get(name)
    return value if value is None else value.decode("latin-1")

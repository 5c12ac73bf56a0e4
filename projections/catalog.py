"""All read models there are."""

from typing import Final

from projections import search
from projections.audit import AUDIT
from projections.caseload import CASELOAD
from projections.containment import CONTAINMENT
from projections.looks import LOOKS
from projections.runner import Projection
from projections.timeline import TIMELINE
from projections.timeliness import TIMELINESS
from projections.worklist import WORKLIST

NAMES: Final = (
    "worklist",
    "search",
    "timeline",
    "audit",
    "looks",
    "containment",
    "timeliness",
    "caseload",
)


def read_models(key: bytes) -> dict[str, Projection]:
    """All read models by name, in the order of ``NAMES``; ``key`` is ``search.index_key``'s."""
    made = (
        WORKLIST,
        search.projection(key),
        TIMELINE,
        AUDIT,
        LOOKS,
        CONTAINMENT,
        TIMELINESS,
        CASELOAD,
    )
    return {each.name: each for each in made}

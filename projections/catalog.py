"""All read models there are."""

from typing import Final

from projections import search
from projections.audit import AUDIT
from projections.caseload import CASELOAD
from projections.containment import CONTAINMENT
from projections.daily import summed
from projections.deadlines import DEADLINES
from projections.evaluation import EVALUATION
from projections.looks import LOOKS
from projections.metrics import METRICS
from projections.projection import Projection
from projections.quality import QUALITY
from projections.timeliness import TIMELINESS
from projections.worklist import WORKLIST

NAMES: Final = (
    "worklist",
    "search",
    "audit",
    "looks",
    "containment",
    "timeliness",
    "caseload",
    "evaluation",
    "quality",
    "deadlines",
)


FIGURES: Final = (CONTAINMENT, TIMELINESS, CASELOAD, EVALUATION, QUALITY)
"""What metrics are counted from."""


def read_models(key: bytes) -> dict[str, Projection]:
    """All read models by name, in the order of ``NAMES``; ``key`` as of ``index_key``."""
    made = (
        WORKLIST,
        search.projection(key),
        AUDIT,
        LOOKS,
        *(summed(each, METRICS.values()) for each in FIGURES),
        DEADLINES,
    )
    return {each.name: each for each in made}

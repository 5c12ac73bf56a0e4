"""All read models there are."""

from typing import Final

from projections.audit import AUDIT
from projections.caseload import CASELOAD
from projections.containment import CONTAINMENT
from projections.runner import Projection
from projections.timeline import TIMELINE
from projections.timeliness import TIMELINESS
from projections.worklist import WORKLIST

ALL: Final[tuple[Projection, ...]] = (
    WORKLIST,
    TIMELINE,
    AUDIT,
    CONTAINMENT,
    TIMELINESS,
    CASELOAD,
)
BY_NAME: Final = {projection.name: projection for projection in ALL}

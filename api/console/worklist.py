"""工作台: what somebody has to do."""

from typing import Annotated, Final

from fastapi import Query
from fastapi.responses import Response

from api import cases
from api import schemas as s
from api.console.pages import page
from api.console.session import AtConsole, pages

router: Final = pages("/worklist")


@router.get("")
def worklist(me: AtConsole, wanted: Annotated[s.CaseQuery, Query()]) -> Response:
    """The cases one may see, filtered, page by page."""
    found = cases.worklist_page(wanted, me.desk, me.seen)
    return page(me, "worklist.html", found=found, wanted=wanted)

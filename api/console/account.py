"""我的账号: who one is here, one's password, and what the phone's bar has no room for."""

from typing import Final

from fastapi.responses import Response

from api.console.pages import page
from api.console.session import AtConsole, pages
from domain import words

router: Final = pages("/more")


@router.get("")
def account(me: AtConsole) -> Response:
    """Oneself: roles and territories, password, language, theme, and the way out."""
    by = me.desk.by
    return page(
        me,
        "account.html",
        grants=by.grants,
        words_of=words.ROLES,
        unit=me.desk.office.staff.units.get(by.unit) if by.unit else None,
    )

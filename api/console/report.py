"""上报: the form with which somebody on the way reports a case, with a network or without."""

from contextlib import suppress
from typing import Any, Final

from fastapi.responses import Response

from api.console import pinyin, static
from api.console.pages import page
from api.console.session import AtConsole, Visitor, pages
from domain import territory as t
from domain.calendar import office_time
from domain.errors import Refused
from domain.places import EVERYWHERE, Tier, parent_of
from domain.roles import permitted

router: Final = pages("/report")

SHELL: Final = (
    "console.css",
    "console.js",
    "drafts.js",
    "icons.svg",
    "logo.svg",
    "palette.js",
    "pinyin.js",
    "report.css",
    "report.js",
    "vendor/htmx.min.js",
    "wangge.webmanifest",
)
"""The files with which the form opens without a network."""

static.works_offline(SHELL)


@router.get("")
def report(me: AtConsole) -> Response:
    """The form, with all that it needs to work alone: places and categories, nobody's data."""
    desk = me.desk
    today = office_time(desk.at).date()
    places = _places(me)
    files = {node.path for node in places if permitted(desk.by, "FileCase", node.path)}
    communities: dict[str, list[t.Node]] = {}
    for node in places:
        above = parent_of(node.path) if node.tier is Tier.GRID else node.path
        communities.setdefault(above, []).append(node)
    own = [node.path for node in places if desk.by.id in node.workers]
    return page(
        me,
        "report.html",
        communities=communities,
        names={node.path: version.name for node in places if (version := node.version(today))},
        today=today,
        files=files,
        preset=own[0] if own else places[0].path if len(places) == 1 else "",
        categories=_categories(me) if files else [],
        ended=_ended(me),
        Tier=Tier,
    )


def _places(me: Visitor) -> list[t.Node]:
    """Where the visitor may report: grids, and the communities for whoever knows no grid."""
    by, tree = me.desk.by, me.desk.office.territory
    today = office_time(me.desk.at).date()
    found: dict[str, t.Node] = {}
    for ground in {grant.territory for grant in by.grants}:
        # A right may be given for a territory that the tree does not have (yet).
        with suppress(Refused):
            found |= {node.path: node for node in tree.subtree(ground, today)}
    return [
        node
        for path, node in sorted(found.items())
        if node.tier <= Tier.COMMUNITY and permitted(by, "ReportCase", path)
    ]


def _ended(me: Visitor) -> bool:
    """Whether the visitor holds a right for a territory that is in force no longer."""
    tree = me.desk.office.territory
    today = office_time(me.desk.at).date()
    for path in {grant.territory for grant in me.desk.by.grants} - {EVERYWHERE}:
        with suppress(Refused):
            if not tree.node(path).in_force(today):
                return True
    return False


def _categories(me: Visitor) -> list[dict[str, Any]]:
    return [
        {
            "code": each.code,
            "zh": each.name_zh,
            "en": each.name_en,
            "size": each.size.value,
            "urgent": each.urgent,
            "amount": each.limit.amount if each.limit else None,
            "unit": each.limit.unit.value if each.limit else None,
            "sounds": pinyin.syllables(each.name_zh),
        }
        for each in me.desk.office.catalogue.categories.values()
        if each.active
    ]

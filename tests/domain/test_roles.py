"""Who may do what, as a table that an office can read and check.

A cell says in which relation a territory must stand to that of the person: (o)wn, (b)elow, (a)bove,
(e)lsewhere; a dot is nowhere. The second column says which territory is measured: the case's
(P)lace, its (H)older, or (E)ither. The table is written by hand, so that a change of the rules has
to be made twice, and seen.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import pytest

from domain.errors import REASONS, Refused
from domain.places import EVERYWHERE
from domain.roles import (
    PERMISSIONS,
    READERS,
    Actor,
    Grant,
    Reading,
    Role,
    Scope,
    demand,
    permitted,
    scope,
    system,
)

MATRIX: Final = """
                       res  grid hot  acc  disp hand coor sup  lead call adm  imp  sys
ReportCase          P  ob   o    ob   ob   .    .    ob   .    .    .    .    ob   .
VerifyCase          P  .    .    .    ob   .    .    .    .    .    .    .    ob   .
RejectCase          P  .    .    .    ob   .    .    .    .    .    .    .    ob   .
FileCase            P  .    o    .    ob   .    .    .    .    ob   .    .    ob   .
ReclassifyCase      P  .    .    .    ob   .    .    .    .    ob   .    .    ob   .
AskVoid             P  .    .    .    .    .    .    .    .    ob   .    .    ob   .
ApproveVoid         P  .    .    .    .    .    .    .    ob   ob   .    .    ob   .
DispatchCase        P  .    .    .    .    ob   .    .    .    .    .    .    ob   .
TransferCase        P  .    .    .    .    ob   .    .    .    .    .    .    ob   .
AcceptCase          H  .    o    .    .    .    o    .    .    .    .    .    ob   .
EscalateCase        H  .    o    .    .    .    o    b    .    .    .    .    ob   ob
ReturnCase          H  .    .    .    .    .    o    o    .    .    .    .    ob   .
WhistleCase         H  .    .    .    .    .    .    ob   .    .    .    .    ob   .
ReportIn            H  .    .    .    .    .    obae ob   .    .    .    .    ob   .
MarkAbsent          H  .    .    .    .    .    .    ob   .    .    .    .    ob   .
SplitCase           P  .    .    .    .    .    .    ob   .    .    .    .    ob   .
MergeCase           P  .    .    .    .    ob   .    ob   .    .    .    .    ob   .
AbsorbCase          P  obae obae obae obae obae obae obae obae obae obae obae ob   obae
NoteChildEnded      P  obae obae obae obae obae obae obae obae obae obae obae ob   obae
NoteChildReopened   P  obae obae obae obae obae obae obae obae obae obae obae ob   obae
AskPark             H  .    o    .    .    .    o    .    .    .    .    .    ob   .
ApprovePark         P  .    .    .    .    ob   .    .    .    .    .    .    ob   .
ResumeCase          E  .    o    .    .    ob   o    .    .    .    .    .    ob   ob
AskExtension        H  .    o    .    .    .    o    .    .    .    .    .    ob   .
ApproveExtension    P  .    .    .    .    ob   .    .    .    .    .    .    ob   .
DeclineRequest      P  .    .    .    .    ob   .    .    ob   ob   .    .    ob   .
RemindDue           P  .    .    .    .    .    .    .    .    .    .    .    ob   ob
MarkBreach          P  .    .    .    .    .    .    .    .    .    .    .    ob   ob
RecomputeDue        P  .    .    .    .    .    .    .    .    .    .    ob   ob   ob
ResolveCase         H  .    o    .    .    .    o    .    .    .    .    .    ob   .
CheckCase           P  .    .    .    .    .    .    .    ob   .    .    .    ob   .
CloseCase           P  .    .    .    .    .    .    .    .    ob   .    .    ob   .
RecordCallback      P  .    .    .    .    .    .    .    .    .    ob   .    ob   .
EvaluateCase        P  ob   .    .    .    .    .    .    .    .    ob   .    ob   .
ReopenCase          P  ob   .    .    .    .    .    .    ob   .    .    .    ob   .
EndReopening        P  .    .    .    .    .    .    .    .    .    .    .    ob   ob
AddNote             E  ob   ob   ob   ob   ob   obae ob   ob   ob   ob   ob   ob   ob
AttachFile          E  ob   ob   ob   ob   ob   obae ob   ob   ob   ob   ob   ob   ob
CreateTerritory     P  .    .    .    .    .    .    .    .    .    .    ob   ob   ob
RenameTerritory     P  .    .    .    .    .    .    .    .    .    .    ob   ob   ob
RedrawGrid          P  .    .    .    .    .    .    .    .    .    .    ob   ob   ob
SplitGrid           P  .    .    .    .    .    .    .    .    .    .    ob   ob   ob
MergeGrids          P  .    .    .    .    .    .    .    .    .    .    ob   ob   ob
AssignWorker        P  .    .    .    .    .    .    .    .    .    .    ob   ob   ob
ReleaseWorker       P  .    .    .    .    .    .    .    .    .    .    ob   ob   ob
RecordHouseholds    P  .    o    .    .    .    .    ob   .    .    .    ob   ob   .
AddUser             P  .    .    .    .    .    .    .    .    .    .    ob   ob   ob
GrantRole           P  .    .    .    .    .    .    .    .    .    .    ob   ob   ob
RevokeRole          P  .    .    .    .    .    .    .    .    .    .    ob   ob   ob
SuspendUser         P  .    .    .    .    .    .    .    .    .    .    ob   ob   ob
RestoreUser         P  .    .    .    .    .    .    .    .    .    .    ob   ob   ob
MoveUser            P  .    .    .    .    .    .    .    .    .    .    ob   ob   ob
NotePasswordChanged P  .    .    .    .    .    .    .    .    .    .    ob   ob   ob
AddUnit             P  .    .    .    .    .    .    .    .    .    .    ob   ob   ob
CloseUnit           P  .    .    .    .    .    .    .    .    .    .    ob   ob   ob
ShowPersonal        E  obae ob   ob   ob   ob   obae ob   ob   ob   ob   ob   ob   .
AskForget           P  .    .    .    .    .    .    .    ob   .    .    ob   ob   .
ApproveForget       P  .    .    .    .    .    .    .    o    .    .    o    ob   .
DeclineForget       P  .    .    .    .    .    .    .    ob   .    .    ob   ob   .
ForgetMissed        P  .    .    .    .    .    .    .    .    .    .    .    ob   ob
SkipEvent           P  .    .    .    .    .    .    .    o    .    .    o    ob   .
AddReceiver         P  .    .    .    .    .    .    .    .    .    .    ob   ob   ob
ChangeReceiver      P  .    .    .    .    .    .    .    .    .    .    ob   ob   ob
RotateReceiverSecret P .    .    .    .    .    .    .    .    .    .    ob   ob   ob
RemoveReceiver      P  .    .    .    .    .    .    .    .    .    .    ob   ob   ob
ResendDeadLetters   P  .    .    .    .    .    .    .    .    .    .    ob   ob   ob
DefineCategory      P  .    .    .    .    .    .    .    .    .    .    o    ob   o
RetireCategory      P  .    .    .    .    .    .    .    .    .    .    o    ob   o
SetPolicy           P  .    .    .    .    .    .    .    .    .    .    o    ob   o
SetReminder         P  .    .    .    .    .    .    .    .    .    .    o    ob   o
PublishYear         P  .    .    .    .    .    .    .    .    .    .    o    ob   o
DeclareDay          P  .    .    .    .    .    .    .    .    .    .    o    ob   o
SetWorkingHours     P  .    .    .    .    .    .    .    .    .    .    o    ob   o
"""

COLUMNS: Final = {
    "res": Role.RESIDENT,
    "grid": Role.GRID_WORKER,
    "hot": Role.HOTLINE,
    "acc": Role.ACCEPTOR,
    "disp": Role.DISPATCHER,
    "hand": Role.HANDLER,
    "coor": Role.COORDINATOR,
    "sup": Role.SUPERVISOR,
    "lead": Role.SHIFT_LEAD,
    "call": Role.CALLBACK_DESK,
    "adm": Role.ADMINISTRATOR,
    "imp": Role.IMPORTER,
    "sys": Role.SYSTEM,
}

OWN: Final = "d1/s1/"
STANDING: Final = {"o": OWN, "b": "d1/s1/c1/", "a": "d1/", "e": "d1/s10/"}

_HEAD, *_ROWS = (line.split() for line in MATRIX.strip().splitlines())
ROWS: Final = [(name, measured, cells) for name, measured, *cells in _ROWS]


def test_the_matrix_names_every_command_and_every_role() -> None:
    assert sorted(name for name, _, _ in ROWS) == sorted(PERMISSIONS)
    assert [COLUMNS[word] for word in _HEAD] == list(Role)


@pytest.mark.parametrize(("command", "measured", "cells"), ROWS, ids=[row[0] for row in ROWS])
def test_who_may(command: str, measured: str, cells: list[str]) -> None:
    for word, cell in zip(_HEAD, cells, strict=True):
        by = Actor("u1", (Grant(COLUMNS[word], OWN),))
        for place_stands, place in STANDING.items():
            for holder_stands, holder in STANDING.items():
                expected = {
                    "P": place_stands in cell,
                    "H": holder_stands in cell,
                    "E": place_stands in cell or holder_stands in cell,
                }[measured]
                assert permitted(by, command, place, holder) is expected, (word, place, holder)


@pytest.mark.parametrize(("command", "measured", "cells"), ROWS, ids=[row[0] for row in ROWS])
def test_where_nobody_else_holds_the_case_its_place_counts(
    command: str, measured: str, cells: list[str]
) -> None:
    for word, cell in zip(_HEAD, cells, strict=True):
        by = Actor("u1", (Grant(COLUMNS[word], OWN),))
        for stands, place in STANDING.items():
            assert permitted(by, command, place) is (stands in cell), (word, place)


def test_what_is_not_in_the_table_is_refused_to_all() -> None:
    by = Actor("u1", tuple(Grant(role, EVERYWHERE) for role in Role))
    assert not permitted(by, "DropTables", EVERYWHERE)


def test_who_has_no_role_may_nothing() -> None:
    assert not any(permitted(Actor("u1", ()), name, OWN) for name in PERMISSIONS)


def test_one_sufficient_role_among_several_is_enough() -> None:
    by = Actor("u1", (Grant(Role.HANDLER, OWN), Grant(Role.SUPERVISOR, "d2/")))
    assert permitted(by, "CheckCase", "d2/s1/")
    assert not permitted(by, "CheckCase", OWN)


@dataclass(frozen=True)
class CloseCase:
    """Only the name of a command counts for the table."""

    by: Actor
    at: datetime = datetime(2026, 1, 5, 9, tzinfo=UTC)


def test_demand_lets_pass_whom_the_table_permits() -> None:
    demand(CloseCase(Actor("u1", (Grant(Role.SHIFT_LEAD, "d1/"),))), OWN)


def test_demand_refuses_all_others_and_names_the_command() -> None:
    with pytest.raises(Refused) as refused:
        demand(CloseCase(Actor("u1", (Grant(Role.SHIFT_LEAD, "d2/"),))), OWN)
    assert refused.value.code == "role.not_permitted"
    assert refused.value.status == 403
    assert "结案" in refused.value.zh
    assert str(refused.value) == refused.value.en


def test_a_refusal_has_a_fitting_status_and_both_languages() -> None:
    for code, reason in REASONS.items():
        rules = {403, 404, 409, 412, 422}
        outside = code.startswith(("request.", "attachment.", "report."))
        assert reason.status in (range(400, 600) if outside else rules), code
        assert reason.zh != reason.en, code
        assert reason.zh, code


def test_a_refusal_without_texts_cannot_be_raised() -> None:
    with pytest.raises(AssertionError):
        Refused("role.no_such_code")


# who somebody is


def test_an_actor_has_a_role_wherever_it_was_granted() -> None:
    by = Actor("u1", (Grant(Role.HANDLER, OWN), Grant(Role.ACCEPTOR, "d2/")))
    assert by.has(Role.ACCEPTOR)
    assert not by.has(Role.SUPERVISOR)


def test_the_roles_of_an_actor_are_named_once_and_in_order() -> None:
    grants = (Grant(Role.HANDLER, OWN), Grant(Role.ACCEPTOR, OWN), Grant(Role.HANDLER, "d2/"))
    assert Actor("u1", grants).roles == ("acceptor", "handler")


def test_a_process_of_the_system_works_everywhere_under_a_name_of_its_own() -> None:
    by = system("deadlines")
    assert by.id == "system:deadlines"
    assert by.roles == ("system",)
    assert permitted(by, "MarkBreach", "d7/s1/c1/")


# what somebody may read


READS: Final = """
                cases audit metrics administration
resident        .     .     .       .
grid_worker     x     .     .       x
hotline         x     .     .       x
acceptor        x     .     .       x
dispatcher      x     .     .       x
handler         x     .     .       x
coordinator     x     .     x       x
supervisor      x     x     x       x
shift_lead      x     .     x       x
callback_desk   x     .     .       x
administrator   x     x     x       x
importer        x     .     .       x
system          x     .     .       x
"""


def test_who_may_read_what_in_the_own_territory() -> None:
    head, *rows = (line.split() for line in READS.strip().splitlines())
    assert [Reading(word) for word in head] == list(Reading) == list(READERS)
    assert [Role(row[0]) for row in rows] == list(Role)
    for role, *cells in rows:
        by = Actor("u1", (Grant(Role(role), OWN),))
        for reading, cell in zip(head, cells, strict=True):
            territories = (OWN,) if cell == "x" else ()
            assert scope(by, Reading(reading)) == Scope(territories, "u1"), (role, reading)


@pytest.mark.parametrize(
    ("granted", "territories"),
    [
        ([], ()),
        (["d1/s1/"], ("d1/s1/",)),
        (["d1/s1/", "d1/s1/"], ("d1/s1/",)),
        (["d1/s1/c1/", "d1/s1/"], ("d1/s1/",)),
        (["d1/s10/", "d1/s1/"], ("d1/s1/", "d1/s10/")),
        (["d2/", "d1/s1/", "d2/s1/c1/g1/"], ("d1/s1/", "d2/")),
        (["d1/", EVERYWHERE], (EVERYWHERE,)),
    ],
)
def test_a_scope_names_only_the_outermost_territories(
    granted: list[str], territories: tuple[str, ...]
) -> None:
    by = Actor("u1", tuple(Grant(Role.SUPERVISOR, path) for path in granted))
    assert scope(by, Reading.CASES) == Scope(territories, "u1")


def test_a_role_that_does_not_read_widens_no_scope() -> None:
    by = Actor("u1", (Grant(Role.HANDLER, EVERYWHERE), Grant(Role.SUPERVISOR, "d1/s1/")))
    assert scope(by, Reading.AUDIT) == Scope(("d1/s1/",), "u1")

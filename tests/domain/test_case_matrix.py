"""Which state allows which command, as a table that an office can read and check.

The states stand in the order of a case's life, as in ``samples.PATHS``. A plus is allowed, a dot is
``case.not_allowed``, the other marks are in ``MARKS``. Where a command answers another
one (a request, a whistle, a split), that other one came before, if the state allowed it. The table
is kept by hand, so that a change of the rules has to be made twice, and seen.
"""

from typing import Final, get_args

import pytest

from domain import case
from domain.case import commands as c
from domain.case.states import STATES, Case
from domain.errors import Refused
from domain.places import Tier
from tests import samples

TABLE: Final = """
                  unkn  rep   rej   filed assd  prog  park  resd  chkd  clsd  eval  merg  void
ReportCase        +     =     =     =     =     =     =     =     =     =     =     =     =
VerifyCase        ?     +     .     .     .     .     .     .     .     .     .     .     .
RejectCase        ?     +     .     .     .     .     .     .     .     .     .     .     .
FileCase          ?     +     .     .     .     .     .     .     .     .     .     .     .
ReclassifyCase    ?     .     .     +     +     +     .     .     .     .     .     .     .
AskVoid           ?     .     .     +     .     .     .     .     .     .     .     .     .
ApproveVoid       ?     .     .     +     .     .     .     .     .     .     .     .     .
DispatchCase      ?     .     .     +     +     .     .     .     .     .     .     .     .
TransferCase      ?     .     .     .     +     .     .     .     .     .     .     .     .
AcceptCase        ?     .     .     .     +     +     .     .     .     .     .     .     .
EscalateCase      ?     .     .     .     +     +     .     .     .     .     .     .     .
ReturnCase        ?     .     .     .     +     +     .     .     .     .     .     .     .
WhistleCase       ?     .     .     +     +     +     +     +     +     .     .     .     .
ReportIn          ?     .     .     +     +     +     +     +     +     .     .     .     .
MarkAbsent        ?     .     .     +     +     +     +     +     +     .     .     .     .
SplitCase         ?     .     .     +     +     +     +     +     +     .     .     .     .
MergeCase         ?     +     .     +     +     +     +     +     +     .     .     .     .
AbsorbCase        ?     +     .     +     +     +     +     +     +     .     .     .     .
NoteChildEnded    ?     -     -     +     +     +     +     +     +     +     +     +     +
NoteChildReopened ?     -     -     +     +     +     +     +     +     +     +     +     +
AskPark           ?     .     .     .     .     +     .     .     .     .     .     .     .
ApprovePark       ?     .     .     .     .     +     .     .     .     .     .     .     .
ResumeCase        ?     .     .     .     .     .     +     .     .     .     .     .     .
AskExtension      ?     .     .     .     .     +     +     .     .     .     .     .     .
ApproveExtension  ?     .     .     .     .     +     +     .     .     .     .     .     .
DeclineRequest    ?     .     .     +     .     +     +     .     .     .     .     .     .
RemindDue         ?     .     .     +     +     +     .     +     +     .     .     .     .
MarkBreach        ?     .     .     +     +     +     .     +     +     .     .     .     .
RecomputeDue      ?     .     .     +     +     +     +     +     +     .     .     .     .
ResolveCase       ?     .     .     .     .     +     .     .     .     .     .     .     .
CheckCase         ?     .     .     .     .     .     .     +     .     .     .     .     .
CloseCase         ?     .     .     .     .     .     .     .     +     .     .     .     .
RecordCallback    ?     .     .     .     .     .     .     .     .     +     .     .     .
EvaluateCase      ?     .     .     .     .     .     .     .     .     +     .     .     .
ReopenCase        ?     .     .     .     .     .     .     .     .     +     +     .     .
EndReopening      ?     .     .     .     .     .     .     .     .     +     +     .     .
AddNote           ?     +     .     +     +     +     +     +     +     .     .     .     .
AttachFile        ?     +     .     +     +     +     +     +     +     .     .     .     .
"""

MARKS: Final[dict[str | None, str]] = {
    None: "+",
    "case.not_allowed": ".",
    "case.unknown": "?",
    "case.exists": "=",
    "case.not_a_child": "-",
}

COMMANDS: Final[dict[str, c.Command]] = {
    type(command).__name__: command
    for command in (
        samples.report(),
        samples.verify(at=samples.NEXT_DAY),
        samples.reject(at=samples.NEXT_DAY),
        samples.file(at=samples.NEXT_DAY),
        samples.reclassify(at=samples.NEXT_DAY),
        samples.ask_void(at=samples.NEXT_DAY),
        samples.approve_void(at=samples.NEXT_DAY),
        samples.dispatch(at=samples.NEXT_DAY),
        samples.transfer(at=samples.NEXT_DAY),
        samples.accept(at=samples.NEXT_DAY, by=samples.GRID_HANDLER),
        samples.escalate(at=samples.NEXT_DAY),
        samples.send_back(at=samples.NEXT_DAY),
        samples.whistle(at=samples.NEXT_DAY, reply_by=samples.after(days=2)),
        samples.report_in(at=samples.NEXT_DAY),
        samples.mark_absent(at=samples.NEXT_DAY),
        samples.split(at=samples.NEXT_DAY),
        samples.merge(at=samples.NEXT_DAY),
        samples.absorb(at=samples.NEXT_DAY),
        samples.note_child_ended(at=samples.NEXT_DAY),
        samples.note_child_reopened(at=samples.NEXT_DAY),
        samples.ask_park(at=samples.NEXT_DAY),
        samples.approve_park(at=samples.NEXT_DAY),
        samples.resume(at=samples.NEXT_DAY),
        samples.ask_extension(at=samples.NEXT_DAY),
        samples.approve_extension(at=samples.NEXT_DAY),
        samples.decline(at=samples.NEXT_DAY),
        samples.remind(),
        samples.mark_breach(at=samples.NEXT_DAY),
        samples.recompute(at=samples.NEXT_DAY),
        samples.resolve(at=samples.NEXT_DAY),
        samples.check(at=samples.NEXT_DAY),
        samples.close(at=samples.NEXT_DAY),
        samples.call_back(at=samples.NEXT_DAY),
        samples.evaluate(at=samples.NEXT_DAY),
        samples.reopen(at=samples.NEXT_DAY),
        samples.end_reopening(),
        samples.note(at=samples.NEXT_DAY),
        samples.attach(at=samples.NEXT_DAY),
    )
}

_SPLIT: Final = (
    samples.split(),
    samples.note_child_ended(at=samples.after(minutes=3)),
    samples.note_child_ended(at=samples.after(minutes=3), child="child-2"),
)
EARLY: Final[dict[str, tuple[c.Command, ...]]] = {
    "ReportIn": (samples.whistle(),),
    "MarkAbsent": (samples.whistle(),),
    "NoteChildEnded": _SPLIT,
    "NoteChildReopened": _SPLIT,
}
"""What must have come right after the filing, so that a command can be meant at all."""

BEFORE: Final[dict[str, tuple[c.Command, ...]]] = {
    "ApproveVoid": (samples.ask_void(),),
    "ApprovePark": (samples.ask_park(),),
    "ApproveExtension": (samples.ask_extension(),),
    "DeclineRequest": (samples.ask_void(), samples.ask_park(), samples.ask_extension()),
}
"""What is asked for just before, where the state allows it."""


def _rows() -> dict[str, dict[str, str]]:
    _, *lines = (line.split() for line in TABLE.strip().splitlines())
    return {line[0]: dict(zip(samples.PATHS, line[1:], strict=True)) for line in lines}


ROWS: Final = _rows()


def test_every_command_and_every_state_is_in_the_table() -> None:
    commands = [command.__name__ for command in get_args(c.Command)]
    states = [state.name for state in get_args(Case)]
    assert states == ["unknown", *(state.name for state in STATES)]
    assert list(samples.PATHS) == states
    assert list(ROWS) == list(COMMANDS) == commands


@pytest.mark.parametrize("command", COMMANDS)
def test_each_state_allows_what_the_table_says(command: str) -> None:
    assert {state: _answer(command, state) for state in samples.PATHS} == ROWS[command]


def _answer(command: str, name: str) -> str:
    now: Case = case.initial
    if name != "unknown":
        filed = name not in ("reported", "rejected")
        now = samples.state(name, *(EARLY.get(command, ()) if filed else ()))
        if command == "ReturnCase":  # from the grid nothing goes further down
            facts = now.facts._replace(tier=Tier.COMMUNITY, holder=samples.COMMUNITY)
            now = type(now)(facts)
    for before in BEFORE.get(command, ()):
        try:
            events = case.decide(now, before)
        except Refused:
            continue
        for event in events:
            now = case.evolve(now, event)
    try:
        case.decide(now, COMMANDS[command])
    except Refused as refused:
        return MARKS.get(refused.code, refused.code)
    return MARKS[None]

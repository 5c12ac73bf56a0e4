"""Event logs for process mining: every event, nothing personal, whole files, the same bytes."""

import gzip
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from domain import words
from domain.case.commands import Spot
from domain.places import id_of, parent_of, tier_of
from domain.territory import CreateTerritory
from infra.event_store import EventStore
from infra.log_export import FORMS, Chosen, Xes, export, whole
from infra.log_source import LogSource
from projections.runner import Runner
from tests import samples

XES = "{http://www.xes-standard.org/}"

ALONE = [name for name in samples.PATHS if name not in ("unknown", "merged")]

SECRETS = (
    *(samples.REPORTER.name, samples.REPORTER.phone, "楼下堆着垃圾", "和平路 <1> 号"),
    *("joint", "联合清理", "photo-1", "116.39", "39.9"),
)
"""What the cases below were told: personal or typed, none of it may get out."""


@pytest.fixture
def source(runner: Runner) -> LogSource:
    """What exports read."""
    assert isinstance(runner.source, LogSource)
    return runner.source


@pytest.fixture
def cases(store: EventStore) -> EventStore:
    """A log with a case in every state a case can be in by itself, and one that went up."""
    for path in (samples.DISTRICT, samples.SUBDISTRICT):
        store.execute(
            CreateTerritory(
                by=samples.ADMINISTRATOR,
                at=samples.START,
                id=id_of(path),
                tier=tier_of(path),
                parent=parent_of(path),
                name=samples.NAMES[path],
                effective=samples.START.date(),
            )
        )
    spot = Spot(address="和平路 <1> 号", longitude=116.39, latitude=39.9)
    for state in ALONE:
        first: Any = samples.PATHS[state][0]
        others = samples.PATHS[state][1:]
        for command in (replace(first, spot=spot), *others):
            store.execute(replace(command, case=f"a-{state}"))
    whistle = samples.whistle(at=samples.NOW)
    for command in (*samples.PATHS["in_progress"], samples.escalate(note="joint"), whistle):
        store.execute(replace(command, case="b"))
    place = samples.place(samples.OTHER_GRID)
    store.execute(samples.report(samples.HOTLINE, samples.NEXT_DAY, case="c", place=place))
    return store


Exported = Callable[..., bytes]


@pytest.fixture
def exported(cases: EventStore, source: LogSource, folder: Path) -> Exported:
    """The bytes of an export, as of the end of the log unless told otherwise."""

    def run(form: str, name: str = "log", **chosen: Any) -> bytes:
        position = chosen.pop("position", None) or source.head()
        export(FORMS[form], folder / name, source, Chosen(position=position, **chosen))
        return (folder / name).read_bytes()

    return run


def traces(content: bytes) -> dict[str, tuple[dict[str, str], list[dict[str, str]]]]:
    """By case, what an XES log tells of it and of each of its events."""
    found = {}
    for trace in ElementTree.fromstring(content).findall(f"{XES}trace"):
        about = {each.attrib["key"]: each.attrib["value"] for each in trace if "key" in each.attrib}
        events = [
            {each.attrib["key"]: each.attrib["value"] for each in event}
            for event in trace.findall(f"{XES}event")
        ]
        found[about["concept:name"]] = about, events
    return found


def test_xes_tells_every_event_in_order(exported: Exported, cases: EventStore) -> None:
    found = traces(exported("xes"))
    assert set(found) == {*(f"a-{state}" for state in ALONE), "b", "c"}
    for case, (about, events) in found.items():
        history = cases.history(f"case:{case}")
        assert [event["concept:name"] for event in events] == [each.name for each in history]
        assert [event["position"] for event in events] == [str(each.position) for each in history]
        assert [event["org:resource"] for event in events] == [each.actor for each in history]
        assert {event["lifecycle:transition"] for event in events} == {"complete"}
        state, _ = cases.case(case)
        assert about["state"] == events[-1]["state"] == state.name
        assert about["highest_tier"] == state.facts.highest.word
    about, events = found["b"]
    assert (about["territory"], about["size"]) == (samples.GRID, "small")
    escalated = next(event for event in events if event["concept:name"] == "case.escalated")
    assert escalated["label"] == words.EVENTS["case.escalated"].zh
    assert (escalated["tier"], escalated["reason"]) == ("community", "resources")
    assert escalated["org:group"] == samples.COMMUNITY
    assert escalated["time:timestamp"] == "2026-03-02T01:30:00.000+00:00"


def test_ocel_is_complete_in_itself(exported: Exported, cases: EventStore) -> None:
    log = json.loads(exported("ocel"))
    types = {each["name"]: each["attributes"] for each in log["eventTypes"]}
    kinds = {each["name"]: each["attributes"] for each in log["objectTypes"]}
    objects = {each["id"]: each for each in log["objects"]}
    assert len(objects) == len(log["objects"])
    assert len({event["id"] for event in log["events"]}) == len(log["events"])
    for event in log["events"]:
        declared = {each["name"] for each in types[event["type"]]}
        assert {each["name"] for each in event["attributes"]} <= declared
    for each in log["objects"]:
        declared = {attribute["name"] for attribute in kinds[each["type"]]}
        assert {attribute["name"] for attribute in each["attributes"]} <= declared
    for each in (*log["events"], *log["objects"]):
        assert {related["objectId"] for related in each["relationships"]} <= objects.keys()

    events = [e for e in log["events"] if _related(e, "case") == "case:b"]
    assert [e["type"] for e in events] == [each.name for each in cases.history("case:b")]
    tiers = [
        attribute["value"]
        for attribute in objects["case:b"]["attributes"]
        if attribute["name"] == "tier"
    ]
    assert tiers == ["grid", "community"]
    assert _related(objects["case:b"], "in") == f"territory:{samples.GRID}"
    named = {"name": "name", "time": "1970-01-01T00:00:00.000+00:00", "value": "春风街道"}
    assert named in objects[f"territory:{samples.SUBDISTRICT}"]["attributes"]


def _related(of: Any, qualifier: str) -> str:
    (found,) = (e["objectId"] for e in of["relationships"] if e["qualifier"] == qualifier)
    assert isinstance(found, str)
    return found


@pytest.mark.parametrize("form", FORMS)
def test_nothing_personal_and_nothing_typed_gets_out(exported: Exported, form: str) -> None:
    text = exported(form).decode()
    assert samples.RESIDENT.id in text  # an id says nothing by itself
    for secret in (*SECRETS, "sealed"):
        assert secret not in text


@pytest.mark.parametrize("form", FORMS)
def test_a_position_is_answered_the_same_for_ever(
    exported: Exported, cases: EventStore, source: LogSource, form: str
) -> None:
    position = source.head()
    first = exported(form)
    cases.execute(samples.report(case="later"))
    cases.execute(replace(samples.verify(at=samples.after(days=1)), case="a-reported"))
    assert exported(form) != first
    assert exported(form, position=position) == first
    packed = exported(form, "log.gz", position=position)
    assert gzip.decompress(packed) == first
    assert exported(form, "other.gz", position=position) == packed


@pytest.mark.parametrize("form", FORMS)
def test_the_stretches_it_is_read_in_make_no_difference(
    exported: Exported, source: LogSource, folder: Path, form: str
) -> None:
    whole = exported(form)
    seen = []
    chosen, path = Chosen(position=source.head()), folder / "piecemeal"
    done = export(
        FORMS[form], path, source, chosen, lambda done: seen.append(done.stretches), stretch=3
    )
    assert path.read_bytes() == whole
    assert seen == [*range(1, done.of + 1)]
    assert done.of > 5
    assert done.cases == len(ALONE) + 2


@pytest.mark.parametrize(
    ("chosen", "cases_"),
    [
        ({"territory": samples.OTHER_COMMUNITY}, {"c"}),
        ({"territory": samples.DISTRICT, "since": samples.NEXT_DAY}, {"c"}),
        ({"until": samples.START}, set()),
        ({"territory": "d1/s1/c1/g1/"}, {*(f"a-{state}" for state in ALONE), "b"}),
    ],
)
def test_cases_are_chosen_whole(
    exported: Exported, cases: EventStore, chosen: dict[str, Any], cases_: set[str]
) -> None:
    found = traces(exported("xes", **chosen))
    assert set(found) == cases_
    for case, (_, events) in found.items():
        assert len(events) == len(cases.history(f"case:{case}"))


def test_what_breaks_off_leaves_the_old_file(
    cases: EventStore, source: LogSource, folder: Path
) -> None:
    class Breaking(Xes):
        """A disk that runs full."""

        def end(self) -> None:
            raise OSError(28, "No space left on device")

    path = folder / "log.xes"
    path.write_text("the old one")
    with pytest.raises(OSError, match="No space"):
        export(Breaking, path, source, Chosen(position=source.head()))
    assert path.read_text() == "the old one"
    assert [each.name for each in folder.iterdir() if "log" in each.name] == ["log.xes"]


def test_characters_that_xml_cannot_hold_break_nothing(
    cases: EventStore, exported: Exported
) -> None:
    by = replace(samples.HOTLINE, id='odd\x01"<&\ufffe')
    cases.execute(samples.report(case="d", by=by))
    (event,) = traces(exported("xes"))["d"][1]
    assert event["org:resource"] == 'odd\ufffd"<&\ufffd'


@pytest.mark.parametrize("name", ["log.xes", "log.xes.gz"])
def test_what_is_no_regular_file_is_written_to_and_stays(folder: Path, name: str) -> None:
    """``--out /dev/stdout`` as root made a regular file of it."""
    pipe = folder / name
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as reader:
        read = reader.submit(pipe.read_bytes)
        with whole(pipe) as file:
            file.write(b"words")
        got = read.result(10)
    assert (gzip.decompress(got) if pipe.suffix == ".gz" else got) == b"words"
    assert pipe.is_fifo()


def test_a_link_stays_one(folder: Path) -> None:
    (folder / "there").mkdir()
    link, file = folder / "link", folder / "there" / "log.xes"
    link.symlink_to(file)
    for text in (b"first", b"second"):
        with whole(link) as written:
            written.write(text)
        assert link.is_symlink()
        assert file.read_bytes() == text
    assert [path.name for path in file.parent.iterdir()] == [file.name]

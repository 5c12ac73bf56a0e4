"""``wangge export`` and ``wangge report``, as a process."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

from tests.infra.test_cli import Wangge, answer, environment, wangge
from tests.infra.test_importers import trace, xes

__all__ = ["environment", "wangge"]  # the fixtures of the command line


def test_files_are_written_and_what_cannot_be_is_said(wangge: Wangge, folder: Path) -> None:
    steps = ("Ana A1 Accepted/In Progress", "Bo 2nd Queued/Awaiting Assignment")
    (folder / "log.xes").write_bytes(xes(trace(*steps), trace(steps[0], old_id="1-2")))
    answer(wangge("import", "bpic2013", "log.xes", "--json"))

    done = wangge("export", "xes", "out.xes")
    assert done.returncode == 0, done.stderr
    assert "2 cases, 9 events" in done.stdout
    log = ElementTree.fromstring((folder / "out.xes").read_bytes())
    assert len(log.findall("{http://www.xes-standard.org/}trace")) == 2
    done = wangge("export", "ocel", "out.json", "--territory", "bpic2013/", "--until", "2012-01-01")
    assert done.returncode == 0, done.stderr
    assert json.loads((folder / "out.json").read_bytes())["events"] == []

    place, day = "bpic2013/org-line-a2/", ("--day", "2012-05-01", "--format", "csv")
    done = wangge("report", "monthly", place, *day)
    assert done.returncode == 0, done.stderr
    (made,) = folder.glob("*月报2012-05-01.csv")
    assert "立案 Filed,2,0,+2" in made.read_text(encoding="utf-8-sig")
    again = wangge("report", "monthly", place, *day, "--out", "again.csv", "--position", "60")
    assert again.returncode == 0, again.stderr
    (moment,) = re.findall(r"moment ([^ )）]+)", done.stdout.replace("\n", ""))
    again = wangge("report", "monthly", place, *day, "--out", "again.csv", "--position", moment)
    assert again.returncode == 0, again.stderr
    assert (folder / "again.csv").read_bytes() == made.read_bytes()

    for words, said in (
        (("export", "xes", "x", "--position", "999999"), "The log ends at"),
        (("export", "xes", "x", "--territory", "nowhere/"), "nowhere/"),
        (("export", "xes", "no/such/folder"), "refused"),
        (("report", "yearly", place), "daily, weekly, monthly"),
        (("report", "daily", place, "--day", "tomorrow"), "Not a day: tomorrow"),
        (("report", "daily", "nowhere/"), "nowhere/"),
        (("report", "daily", place, "--position", "12@noon"), "Neither a position nor a moment"),
    ):
        refused = wangge(*words)
        assert refused.returncode in (1, 2), words
        assert said in refused.stderr, (words, refused.stderr)
        assert "Traceback" not in refused.stderr

"""Many writers at the same time: one wins, nobody's work is lost, positions stay dense."""

import json
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

from domain.aggregates import case_stream
from tests import samples
from tests.api.conftest import Served


def test_of_two_who_saw_the_same_version_one_wins(served: Served) -> None:
    case = served.in_hand()
    start = Barrier(2)

    def note(person: str) -> tuple[int, str]:
        headers = {"Authorization": f"Bearer {served.token(person)}", "If-Match": '"4"'}
        start.wait()
        response = served.client.post(
            f"/api/v1/cases/{case}/note", json={"text": person}, headers=headers
        )
        return response.status_code, person

    with ThreadPoolExecutor(2) as threads:
        answers = dict(threads.map(note, ("li", "coordinator")))
    assert sorted(answers) in ([200, 409], [200, 412])
    history = served.store.history(case_stream(case))
    assert [recorded.version for recorded in history] == [1, 2, 3, 4, 5]
    assert history[-1].actor == answers[200]


def test_without_a_version_both_are_kept(served: Served) -> None:
    case, people = served.in_hand(), ("li", "coordinator")
    start = Barrier(2)

    def note(person: str) -> Any:
        headers = {"Authorization": f"Bearer {served.token(person)}"}
        start.wait()
        response = served.client.post(
            f"/api/v1/cases/{case}/note", json={"text": person}, headers=headers
        )
        return response.status_code

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(note, people)) == [200, 200]
    actors = {recorded.actor for recorded in served.store.history(case_stream(case))[4:]}
    assert actors == set(people)


def test_eight_writers_on_eight_cases_interleave_with_dense_positions(served: Served) -> None:
    rounds, cases = 12, [served.report() for _ in range(8)]
    before = served.store.recorder.max_notification_id() or 0
    start = Barrier(len(cases))

    def write(case: str) -> list[int]:
        headers = {"Authorization": f"Bearer {served.token('li')}"}
        start.wait()
        positions = []
        for number in range(rounds):
            response = served.client.post(
                f"/api/v1/cases/{case}/note", json={"text": f"第 {number} 次"}, headers=headers
            )
            assert response.status_code == 200, response.text
            positions.append(response.json()["position"])
        return positions

    with ThreadPoolExecutor(len(cases)) as threads:
        given = list(threads.map(write, cases))
    assert all(positions == sorted(positions) for positions in given)
    together = sorted(position for positions in given for position in positions)
    assert together == list(range(before + 1, before + 1 + rounds * len(cases)))
    for case in cases:
        versions = [recorded.version for recorded in served.store.history(case_stream(case))]
        assert versions == list(range(1, rounds + 2))


def test_one_key_sent_by_eight_at_once_makes_one_case(served: Served) -> None:
    body = {"territory": samples.GRID, "description": "井盖缺失"}
    start = Barrier(8)
    headers = {"Authorization": f"Bearer {served.token('li')}", "Idempotency-Key": "the-same"}

    def report(number: int) -> tuple[int, str]:
        if number < 8:
            start.wait()
        response = served.client.post("/api/v1/cases", json=body, headers=headers)
        return response.status_code, response.text

    with ThreadPoolExecutor(8) as threads:
        answers = set(threads.map(report, range(8)))
    made = {text for status, text in answers if status == 201}
    assert len(made) == 1
    refused = {(status, json.loads(text)["code"]) for status, text in answers if status != 201}
    assert refused <= {(409, "request.key_in_use")}
    assert report(9) == (201, made.pop())

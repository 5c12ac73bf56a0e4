"""A correlation tells its trace, to everybody the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.traces import Trace, caller_in, correlation_within, trace_of, traceparent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@given(st.text(max_size=100))
def test_every_correlation_names_a_span_that_others_can_read(correlation: str) -> None:
    assert caller_in(traceparent(correlation)) == trace_of(correlation)


def test_a_request_of_our_own_begins_a_trace() -> None:
    assert trace_of("5b1c6f3e5b1c6f3e") == ("0" * 16 + "5b1c6f3e5b1c6f3e", "5b1c6f3e5b1c6f3e")


def test_a_request_within_a_callers_trace_stays_in_it() -> None:
    caller = caller_in(f"00-{TRACE}-{SPAN}-01")
    assert caller == (TRACE, SPAN)
    assert trace_of(correlation_within(caller, "1" * 16)) == (TRACE, "1" * 16)


def test_parts_are_spans_of_the_same_trace() -> None:
    whole = Trace(TRACE, SPAN)
    assert whole.part("append").trace == TRACE
    assert len({SPAN, whole.part("append").span, whole.part("project worklist").span}) == 3


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-01 ",
    ],
)
def test_a_header_that_is_not_as_it_must_be_names_nobody(header: str) -> None:
    assert caller_in(header) is None


def test_a_later_version_of_the_header_may_say_more() -> None:
    assert caller_in(f"01-{TRACE}-{SPAN}-01-more") == (TRACE, SPAN)

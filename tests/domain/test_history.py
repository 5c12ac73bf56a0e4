"""What cannot be read is named, so that whoever reads about it finds it."""

from domain.history import Unreadable


def test_an_unreadable_event_names_itself() -> None:
    error = Unreadable(7, "case:x", "case.filed")
    assert (error.position, error.stream, error.name) == (7, "case:x", "case.filed")
    assert str(error) == "position 7, case.filed of case:x"

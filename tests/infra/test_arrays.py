"""What is packed here, PostgreSQL reads as it was meant."""

from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg_pool import ConnectionPool

from infra.arrays import Blobs, Instants, Integers, Texts

NO_NUL = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
INSTANTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001 - aware by timezones


def test_every_column_comes_back(pool: ConnectionPool) -> None:
    with pool.connection() as connection:

        def back(column: Any, type_: str) -> Any:
            query = f"SELECT %s::{type_}[]"
            row = connection.execute(query, (column,), binary=True).fetchone()
            assert row is not None
            return row[0]

        @given(
            st.lists(NO_NUL),
            st.lists(st.binary()),
            st.lists(st.integers(-(2**31), 2**31 - 1)),
            st.lists(INSTANTS | st.none()),
        )
        def same(texts: Any, blobs: Any, integers: Any, instants: Any) -> None:
            assert back(Texts(texts), "text") == texts
            assert back(Blobs(blobs), "bytea") == blobs
            assert back(Integers(integers), "int") == integers
            assert back(Instants(instants), "timestamptz") == instants

        same()


def test_a_text_that_postgresql_does_not_take_is_refused_before_it_is_sent(
    pool: ConnectionPool,
) -> None:
    with pool.connection() as connection, pytest.raises(psycopg.DataError):
        connection.execute("SELECT %s", (Texts(["a\0b"]),))

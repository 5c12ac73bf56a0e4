"""What an installation is put together of."""

import time
from contextlib import ExitStack

import psycopg

from infra.installation import pooled


def test_connections_that_the_database_has_ended_are_not_handed_out(
    database: str, secret: bytes
) -> None:
    """After a restart each of them cost somebody an answer."""
    with pooled(database, secret, "wangge_app", 4) as pool:
        with ExitStack() as held:
            for _ in range(4):
                held.enter_context(pool.connection())
        begun = time.monotonic()
        with psycopg.connect(database, autocommit=True) as owner:
            # Waits until they are gone.
            ended = owner.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND usename = 'wangge_app'"
            ).fetchall()
        assert ended == [(True,)] * 4
        for _ in range(8):
            with pool.connection() as connection:
                connection.execute("SELECT 1")
        assert time.monotonic() - begun < 5

"""What is asked of the audit trail is found by its indexes, in their order."""

import pytest
from psycopg import sql

from domain.history import LOG
from projections import schemas
from projections.audit import AUDIT
from projections.conditions import equals_hashed
from projections.runner import Runner


@pytest.mark.parametrize("column", ["actor", "action"])
def test_that_somebody_has_many_entries_is_known_to_the_database(
    runner: Runner, column: str
) -> None:
    """Or it fetches them all, and puts them in order, for the latest few."""
    with runner.connect() as connection:
        schemas.create(connection, AUDIT, "made", (LOG,), indexed=True)
        with connection.transaction():
            schemas.use(connection, "made")
            connection.execute(
                "INSERT INTO entries SELECT n, now(), now(), 'of ' || n % 20, '', 'of ' || n % 20,"
                " 'case:' || n, 1, 'd1/', '', '' FROM generate_series(1, 20000) n"
            )
            connection.execute("ANALYZE entries")
            query = sql.SQL(
                "EXPLAIN SELECT * FROM entries WHERE {} ORDER BY position DESC LIMIT 50"
            ).format(equals_hashed(column, "of 7"))
            plan = "".join(row[0] for row in connection.execute(query).fetchall())
    assert f"Index Scan Backward using entries_{column}" in plan, plan

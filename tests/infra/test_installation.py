"""What an installation is put together of."""

import time
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from infra.installation import demo_settings, opened, pooled
from infra.postgres import EmbeddedPostgres
from infra.settings import SettingError, Settings
from tests import samples
from tests.databases import copied


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


@pytest.mark.parametrize("moved", ["to a database of its own", "into the log's"])
def test_a_vault_that_is_empty_is_not_the_one_of_a_log_with_events(
    database: str,
    postgres: EmbeddedPostgres,
    template: str,
    folder: Path,
    secret: bytes,
    moved: str,
) -> None:
    """Who sets WANGGE_VAULT_DSN later, or no longer, would lose all personal data."""
    (folder / "secret").write_text(secret.decode())
    with copied(postgres, template, "wangge_vault_apart") as apart:
        together = Settings(data=folder, dsn=database)
        of_its_own = Settings(data=folder, dsn=database, vault_dsn=apart)
        ways = [together, of_its_own]
        before, after = ways if moved == "to a database of its own" else reversed(ways)
        with opened(before) as installation:
            installation.store.execute(samples.report(case="a"))
        with pytest.raises(SettingError, match="WANGGE_VAULT_DSN"), opened(after):
            pass
        with opened(before) as installation:
            (reported,) = installation.store.history("case:a", opened=True)
            assert reported.event.description == samples.report().description


def test_a_database_that_a_vault_is_to_be_restored_into_stays_empty(
    database: str, postgres: EmbeddedPostgres, folder: Path, secret: bytes
) -> None:
    """Who starts too early is told to restore the vault first, and can."""
    (folder / "secret").write_text(secret.decode())
    with opened(Settings(data=folder, dsn=database)) as installation:
        installation.store.execute(samples.report(case="a"))
    with copied(postgres, "template0", "wangge_vault_to_be") as empty:
        early = Settings(data=folder, dsn=database, vault_dsn=empty)
        with pytest.raises(SettingError, match="WANGGE_VAULT_DSN"), opened(early):
            pass
        with psycopg.connect(empty) as owner:
            found = owner.execute("SELECT FROM pg_namespace WHERE nspname = 'vault'").fetchall()
            assert found == []
            assert owner.execute("SELECT to_regclass('public.migration')").fetchone() == (None,)


@pytest.mark.parametrize("outside", [False, True])
def test_the_demonstration_shares_nothing_with_the_real_installation(
    database: str, folder: Path, outside: bool
) -> None:
    real = Settings(
        data=folder,
        dsn=database if outside else None,
        vault_dsn="host=vault",
        kek=folder / "kek",
        attachments="s3://city/files",
    )
    for settings in (real, real.model_copy(update={"kek": None, "attachments": ""})):
        demo = demo_settings(settings)
        assert demo.vault_dsn is None
        assert demo.kek_file != settings.kek_file
        assert demo.attachments_place != settings.attachments_place
        assert "://" not in demo.attachments_place
        assert (demo.dsn, demo.data) != (settings.dsn, settings.data)

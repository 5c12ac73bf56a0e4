"""The database's own history: numbered SQL files, each applied once, in order."""

import hashlib
import hmac
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from importlib import resources
from typing import Final, Literal, NamedTuple, TypeVar

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

T = TypeVar("T")

Part = Literal["log", "vault"]
"""What a database can hold. Usually it holds both; the vault may have one of its own."""

PARTS: Final[dict[Part, dict[str, str]]] = {
    "log": {
        "wangge_app": "CONNECT",
        "wangge_projector": "CONNECT, CREATE, TEMPORARY",
        "wangge_relay": "CONNECT",
    },
    "vault": {"wangge_vault": "CONNECT"},
}
"""The roles that sign in to each, with what they may do with the database as a whole."""

LOGIN_ROLES: Final = PARTS["log"] | PARTS["vault"]
"""All roles that sign in."""

ROLES: Final = ("wangge_owner", "wangge_vault_owner", *LOGIN_ROLES)
"""All roles: those that own what is in the database, and those that sign in."""

ATTEMPTS: Final = 20
"""How often to try what another database of the cluster may be doing at the same moment."""


ALIVE: Final = {
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""A connection whose other end has gone without a word is noticed within some ten seconds."""


class Migration(NamedTuple):
    """One file of ``infra/sql``: ``002_log.sql`` is number 2."""

    number: int
    name: str
    text: str

    @property
    def part(self) -> Part:
        """Which databases the file is for."""
        return "vault" if "vault" in self.name else "log"

    @property
    def digest(self) -> str:
        """SHA-256 of the text, hex: an applied file is never edited."""
        return hashlib.sha256(self.text.encode()).hexdigest()


class MigrationError(Exception):
    """The database and the files of this version do not belong together."""


def migrations() -> list[Migration]:
    """All files in order of their numbers."""
    files = resources.files("infra").joinpath("sql").iterdir()
    found = [
        Migration(int(file.name[:3]), file.name, file.read_text(encoding="utf-8"))
        for file in files
        if file.name.endswith(".sql")
    ]
    return sorted(found)


def role_password(secret: bytes, role: str) -> str:
    """The password of a database role, derived from the installation's secret, kept nowhere."""
    return hmac.new(secret, f"database role {role}".encode(), hashlib.sha256).hexdigest()


def role_dsn(dsn: str, secret: bytes, role: str) -> str:
    """The conninfo by which a role signs in to the database of another conninfo.

    Its sessions are in UTC: an interval of days in a figure would follow an outside server's zone,
    and be an hour shorter or longer when the clocks there change.
    """
    dsn = make_conninfo(dsn, user=role, password=role_password(secret, role), **ALIVE)
    return with_options(dsn, "-c TimeZone=UTC")


def with_options(dsn: str, *options: str) -> str:
    """A conninfo with more settings of the session (libpq's ``options``)."""
    known = str(conninfo_to_dict(dsn).get("options") or "")
    return make_conninfo(dsn, options=" ".join([known, *options]).strip())


def migrate(dsn: str, secret: bytes, parts: Collection[Part] = tuple(PARTS)) -> list[str]:
    """Bring a database up to date and let its roles sign in; returns the files applied.

    ``dsn`` belongs to a user who may create roles and schemas. ``parts`` are those that this
    database is to hold; another that it held before stays as it is. Processes that start together
    wait for one another. Raises ``MigrationError`` when an applied file was changed or is newer
    than this version, or when the roles have the passwords of another secret; ``psycopg.Error``
    when the database refuses.
    """
    applied = _retried(lambda: _apply(dsn, parts))
    _retried(lambda: _let_in(dsn, secret, parts))
    return applied


def _retried(step: Callable[[], T]) -> T:
    """A transaction, again while another database of the cluster is changing the same roles.

    Roles belong to the cluster, the advisory lock to one database. Whoever is second is refused
    once the first has committed, so every attempt sees another one done.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            return step()
        except (psycopg.errors.InternalError_, psycopg.errors.UniqueViolation):
            continue  # "tuple concurrently updated", or the same membership granted twice
    return step()


@contextmanager
def _alone(dsn: str) -> Iterator[psycopg.Connection]:
    """A transaction that waits for all others of this kind in the same database."""
    with psycopg.connect(dsn) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(hashtext('wangge migrations'))")
        yield connection


def _apply(dsn: str, parts: Collection[Part]) -> list[str]:
    """Run the files that are new to a database and grant its roles what concerns it as a whole."""
    with _alone(dsn) as connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS public.migration (number integer PRIMARY KEY,"
            " name text NOT NULL, digest text NOT NULL,"
            " applied_at timestamptz NOT NULL DEFAULT now())"
        )
        rows = connection.execute("SELECT number, name, digest FROM public.migration").fetchall()
        done = {number: (name, digest) for number, name, digest in rows}
        known = migrations()
        _demand_same(known, done)
        _demand_roles(connection, [each for each in known if each.number in done])
        fresh = [each for each in known if each.part in parts and each.number not in done]
        for migration in fresh:
            connection.execute(migration.text.encode())
            connection.execute("RESET ROLE")
            connection.execute(
                "INSERT INTO public.migration (number, name, digest) VALUES (%s, %s, %s)",
                (migration.number, migration.name, migration.digest),
            )
        admit(connection, connection.info.dbname, parts)
    return [migration.name for migration in fresh]


def _demand_same(known: list[Migration], done: dict[int, tuple[str, str]]) -> None:
    by_number = {migration.number: migration for migration in known}
    for number, (name, digest) in sorted(done.items()):
        migration = by_number.get(number)
        if migration is None:
            raise MigrationError(
                f"数据库已由更新版本的 wangge 升级（{name}），本版本不能使用，请用较新的版本。\n"
                f"The database has migration {name}, which this version of wangge does not know. "
                "Use the newer version that wrote it."
            )
        if migration.digest != digest:
            raise MigrationError(
                f"文件 {migration.name} 在执行之后被改动过，请恢复原来的文件。\n"
                f"The file {migration.name} was changed after it was applied: put back what it was."
            )


def _demand_roles(connection: psycopg.Connection, applied: Collection[Migration]) -> None:
    """The roles that files made are there: a dump of a database has none of them."""
    rows = connection.execute("SELECT rolname FROM pg_roles").fetchall()
    known = {name for (name,) in rows}
    wanted = [each for each in ROLES if any(each in file.text for file in applied)]
    if absent := [each for each in wanted if each not in known]:
        raise MigrationError(
            f"数据库中有 wangge 的数据，但缺少角色 {'、'.join(absent)}：恢复备份时须先恢复角色。"
            "请先恢复角色，再把备份恢复到空数据库（见 README 的 Restoring 一节）。\n"
            f"The database holds data of wangge, but the roles are missing: {', '.join(absent)}. A "
            "dump of one database has no roles, and without them its rights were not restored "
            "either: restore the roles, then the dump once more into an empty database (README, "
            "Restoring)."
        )


def admit(
    connection: psycopg.Connection, name: str, parts: Collection[Part] = tuple(PARTS)
) -> None:
    """Let the roles that sign in use a database of the cluster, and nobody else."""
    database = sql.Identifier(name)
    connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
    for role, rights in _roles(parts).items():
        connection.execute(
            sql.SQL("GRANT {} ON DATABASE {} TO {}").format(
                sql.SQL(rights), database, sql.Identifier(role)
            )
        )


def _roles(parts: Collection[Part]) -> dict[str, str]:
    return {role: rights for part in parts for role, rights in PARTS[part].items()}


def _let_in(dsn: str, secret: bytes, parts: Collection[Part]) -> None:
    """Give roles that cannot sign in their password; those that can must have it already.

    A password is never reset: the roles serve all databases of the cluster and whoever runs there.
    """
    with _alone(dsn) as connection:
        for role in _roles(parts):
            known = "SELECT FROM pg_roles WHERE rolname = %s AND rolcanlogin"
            if connection.execute(known, (role,)).fetchone() is not None:
                _demand_sign_in(dsn, secret, role)
                continue
            # Hashed here, so that no log of the server ever holds the password itself.
            password = connection.pgconn.encrypt_password(
                role_password(secret, role).encode(), role.encode(), b"scram-sha-256"
            )
            connection.execute(
                sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(
                    sql.Identifier(role), sql.Literal(password.decode())
                )
            )


def _demand_sign_in(dsn: str, secret: bytes, role: str) -> None:
    try:
        psycopg.connect(role_dsn(dsn, secret, role)).close()
    except psycopg.OperationalError as error:
        if error.pgconn is None or not error.pgconn.used_password:
            raise  # it did not come to the password
        locked_out = " ".join(f"ALTER ROLE {each} NOLOGIN;" for each in LOGIN_ROLES)
        raise MigrationError(
            f"数据库角色 {role} 的密码与本安装的密钥（WANGGE_DATA/secret）不符。"
            "请从已在使用该数据库服务器的机器复制 secret 文件。仅当该文件已丢失：停止全部进程，"
            f"执行 {locked_out} 重新启动，再运行 wangge rebuild search（查询索引依赖该密钥）；"
            "消息推送的接收方须换用新密钥。\n"
            f"The secret of this installation (WANGGE_DATA/secret) does not belong to this "
            f"database: {role} cannot sign in. Copy the file secret from the data folder of a "
            "machine that already uses this database server. Only if that file is lost: stop all "
            f"of them, run {locked_out} start again, and run `wangge rebuild search`, for what was "
            "to be found is keyed by it; receivers of webhooks need their new secrets."
            f"\n{str(error).strip()}"
        ) from error

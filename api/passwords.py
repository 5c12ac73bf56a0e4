"""Passwords of local accounts: argon2 hashes in a table beside the log, for a log is for ever."""

import secrets
import threading
from datetime import datetime
from typing import Final

from psycopg_pool import ConnectionPool
from pwdlib import PasswordHash

AT_ONCE: Final = 2
"""Hashes reckoned at a time: each takes 64 MiB, and a flood of sign-ins must not take it all."""


class StoredPasswords:
    """The passwords in ``access.credential``."""

    def __init__(self, pool: ConnectionPool, hasher: PasswordHash | None = None) -> None:
        """``pool`` hands out autocommit connections of the role ``wangge_app``."""
        self._pool = pool
        self._hasher = hasher or PasswordHash.recommended()
        self._turn = threading.Semaphore(AT_ONCE)
        self._nobody = self._hasher.hash(secrets.token_hex(16))

    def verify(self, person: str, password: str) -> bool:
        """Whether this is the person's password; takes as long where there is no such person."""
        with self._pool.connection() as connection:
            row = connection.execute(
                "SELECT hash FROM access.credential WHERE person = %s", (person,)
            ).fetchone()
        with self._turn:
            matches = self._hasher.verify(password, row[0] if row else self._nobody)
        return matches and row is not None

    def set(self, person: str, password: str) -> None:
        """Give a person a password."""
        self._put(person, password, anew=True)

    def set_first(self, person: str, password: str) -> None:
        """Give a person a password, unless one was given ever."""
        self._put(person, password, anew=False)

    def _put(self, person: str, password: str, *, anew: bool) -> None:
        with self._turn:
            hashed = self._hasher.hash(password)
        with self._pool.connection() as connection:
            connection.execute(
                "INSERT INTO access.credential (person, hash) VALUES (%s, %s)"
                " ON CONFLICT (person) DO UPDATE SET hash = excluded.hash, changed_at = now()"
                " WHERE %s",
                (person, hashed, anew),
            )

    def drop(self, person: str, until: datetime) -> None:
        """Let nobody sign in with a password that a person was given until then.

        The row stays, with the hash of what nobody knows: this role may delete nothing.
        """
        with self._pool.connection() as connection:
            connection.execute(
                "UPDATE access.credential SET hash = %s, changed_at = now()"
                " WHERE person = %s AND changed_at <= %s",
                (self._nobody, person, until),
            )

"""The peer of the HTTP benchmark: the least that FastAPI and PostgreSQL need to keep a note.

One route, a checked body, a pool of asynchronous connections, one INSERT and its commit. It signs
nobody in, knows no rule and keeps no history.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from psycopg_pool import AsyncConnectionPool
from pydantic import BaseModel

pool = AsyncConnectionPool(os.environ.get("PEER_DSN", ""), min_size=8, max_size=8, open=False)


class Note(BaseModel):
    """What is kept."""

    case: str
    author: str
    text: str


@asynccontextmanager
async def _lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with pool:
        yield


app = FastAPI(lifespan=_lifespan)


@app.post("/notes", status_code=201)
async def add_note(note: Note) -> dict[str, int]:
    """Keep a note; answers its number."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            'INSERT INTO note ("case", author, text) VALUES (%s, %s, %s) RETURNING id',
            (note.case, note.author, note.text),
        )
        row = await cursor.fetchone()
    assert row is not None
    return {"id": row[0]}

"""An ordinary FastAPI application. It knows nothing of pys-multi: `uvicorn notes.api:api` runs it as well."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field


class NewNote(BaseModel):
    text: str = Field(min_length=1, max_length=1000)
    tags: list[str] = []


class Note(NewNote):
    id: int


class Notes:
    """All notes, in memory."""

    def __init__(self) -> None:
        self.by_id: dict[int, Note] = {}
        self.next_id = count(1)


@asynccontextmanager
async def lifespan(application: FastAPI) -> AsyncIterator[None]:
    application.state.notes = Notes()
    yield


def all_notes(request: Request) -> Notes:
    notes: Notes = request.app.state.notes
    return notes


AllNotes = Annotated[Notes, Depends(all_notes)]
api = FastAPI(title="Notes", lifespan=lifespan)


@api.get("/notes")
def list_notes(notes: AllNotes, tag: str | None = None) -> list[Note]:
    return [note for note in notes.by_id.values() if tag is None or tag in note.tags]


@api.post("/notes", status_code=201)
async def add_note(note: NewNote, notes: AllNotes) -> Note:
    made = Note(id=next(notes.next_id), **note.model_dump())
    notes.by_id[made.id] = made
    return made


@api.get("/notes.txt")
async def export_notes(notes: AllNotes) -> StreamingResponse:
    async def lines() -> AsyncIterator[str]:
        for note in list(notes.by_id.values()):
            yield f"{note.id}: {note.text}\n"

    return StreamingResponse(lines(), media_type="text/plain")


@api.get("/notes/{id}")
def read_note(id: int, notes: AllNotes) -> Note:
    if id not in notes.by_id:
        raise HTTPException(404, f"there is no note {id}")
    return notes.by_id[id]


@api.delete("/notes/{id}", status_code=204)
def delete_note(id: int, notes: AllNotes) -> None:
    notes.by_id.pop(id, None)

"""Finding out how an endpoint wants to be asked: once per endpoint, model and task, not per call.

The first call goes alone. Where the endpoint turns down a JSON schema, the ways that ask for less are tried
(structured.MODES), at last the prompt alone; a reasoning model that wants `max_completion_tokens` gets it.
What an endpoint turned down with a 4xx is remembered in the store; a 5xx could have been an accident and is
believed for one run.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from knowtuning.core.storage import digest
from knowtuning.teacher.openai.client import OFFICIAL, Client, Dialect, Model, body_of
from knowtuning.teacher.openai.dialogue import Completion, Request
from knowtuning.teacher.openai.errors import Fault, TeacherError
from knowtuning.teacher.openai.journal import Journal
from knowtuning.teacher.openai.store import Store
from knowtuning.teacher.openai.structured import MODES

_TOO_LONG = ("context_length_exceeded", "string_above_max_length")
_ROWS = 5  # rows turned down in every dialect, before any reply, that are no accident
_PROBE = Request([{"role": "user", "content": "Reply with the JSON object {}."}], 16)


class Negotiator:
    """Makes calls in the dialect of the endpoint, finding it out by the first."""

    def __init__(self, model: Model, open_client: Callable[[], Client], journal: Journal) -> None:
        self._model = model
        self._open = open_client
        self._client: Client | None = None
        self._journal = journal
        self._known: dict[str, Dialect] = {}
        self._lock = asyncio.Lock()
        self._greeted = False
        self._refused: TeacherError | None = None
        self._allowed = False
        self._turned_down = 0

    async def complete(self, request: Request, name: str, schema: dict[str, Any]) -> Completion:
        """Make one call. Raises Fault, or TeacherError when the endpoint or a setting is at fault."""
        key = digest(self._model.endpoint, self._model.name, name)
        if key not in self._known:
            async with self._lock:
                if self._refused is not None:
                    raise self._refused
                if key not in self._known:
                    return await self._first(key, request, name, schema)
        return await self._call(request, self._known[key], name, schema)

    async def close(self) -> None:
        """Close the client, if a call has opened it."""
        if self._client is not None:
            await self._client.close()

    @property
    def client(self) -> Client:
        """The client, opened by the first call."""
        assert self._client is not None
        return self._client

    def settled(self) -> Callable[[Store], None]:
        """What to do in the transaction that settles a call: nothing, see batch.py."""
        return lambda store: None

    async def recall(self, name: str) -> Dialect | None:
        """The dialect for a task as far as it is known without a call (for batches)."""
        key = digest(self._model.endpoint, self._model.name, name)
        if key not in self._known:
            stored = await self._journal.do(lambda store: store.dialect(key))
            if stored is None:
                return None
            await self._greet()
            self._known[key] = Dialect(**json.loads(stored))
        return self._known[key]

    async def _first(self, key: str, request: Request, name: str, schema: dict[str, Any]) -> Completion:
        try:
            return await self._meet(key, request, name, schema)
        except TeacherError as error:
            # Calls that waited for this one would meet the same.
            self._refused = error
            raise

    async def _meet(self, key: str, request: Request, name: str, schema: dict[str, Any]) -> Completion:
        await self._greet()
        stored = await self._journal.do(lambda store: store.dialect(key))
        if stored is None:
            return await self._search(key, request, name, schema)
        dialect = Dialect(**json.loads(stored))
        try:
            completion = await self._call(request, dialect, name, schema)
        except Fault as fault:
            if fault.kind != "rejected" or fault.code in _TOO_LONG:
                raise
            # The endpoint may be another than it was.
            return await self._search(key, request, name, schema)
        self._known[key] = dialect
        return completion

    async def _search(self, key: str, request: Request, name: str, schema: dict[str, Any]) -> Completion:
        """Try the dialects, best first. Raises the first fault if none works but a plain call would."""
        first: Fault | None = None
        dialect = Dialect()
        for mode in MODES:
            dialect = replace(dialect, mode=mode)
            try:
                completion, dialect = await self._try(request, dialect, name, schema)
            except Fault as fault:
                if fault.kind not in ("rejected", "server") or fault.code in _TOO_LONG:
                    raise
                first = first or fault
                continue
            self._known[key] = dialect
            if first is None or first.kind == "rejected":
                await self._journal.do(_learn(key, dialect))
            return completion
        assert first is not None
        await self._blame(first, dialect)
        self._turned_down += first.kind == "rejected"
        if self._turned_down >= _ROWS:
            raise TeacherError(
                f"{self._model.section}.model {self._model.name!r} at {self._model.endpoint} turns down "
                f"every task {name!r} ({first.message}), {self._turned_down} so far"
            )
        raise first

    async def _try(
        self, request: Request, dialect: Dialect, name: str, schema: dict[str, Any]
    ) -> tuple[Completion, Dialect]:
        # Only behind an error does a server hang up; on the first call Online repeats what it must.
        try:
            if dialect.mode == MODES[0]:
                return await self._call(request, dialect, name, schema, search=True), dialect
            return await self._steadily(request, dialect, name, schema), dialect
        except Fault as fault:
            if fault.kind != "rejected" or "max_completion_tokens" not in fault.message:
                raise
        dialect = replace(dialect, limit_field="max_completion_tokens")
        return await self._steadily(request, dialect, name, schema), dialect

    async def _blame(self, fault: Fault, dialect: Dialect) -> None:
        """Raise TeacherError when the endpoint turns down even a minimal call: it is not the row's fault."""
        if not _looks_final(fault):
            return
        try:
            await self._steadily(_PROBE, replace(dialect, mode="prompted"), "probe", {})
        except Fault as second:
            if _looks_final(second):
                at = self._model.section
                raise TeacherError(
                    f"{at}.model {self._model.name!r} at {self._model.endpoint} turns down "
                    f"even a minimal call ({second.message}); check {at}.model, {at}.temperature, "
                    f"{at}.top_p and {at}.seed"
                ) from None

    async def _steadily(
        self, request: Request, dialect: Dialect, name: str, schema: dict[str, Any]
    ) -> Completion:
        """Make a call, once more when the connection breaks: servers hang up after an error of theirs."""
        try:
            return await self._call(request, dialect, name, schema, search=True)
        except Fault as fault:
            if fault.kind != "connection":
                raise
        return await self._call(request, dialect, name, schema, search=True)

    async def _call(
        self,
        request: Request,
        dialect: Dialect,
        name: str,
        schema: dict[str, Any],
        *,
        search: bool = False,
    ) -> Completion:
        """Make a call. search: the dialect is being found out, so that a 404 may be about its fields."""
        try:
            completion = await self.client.complete(body_of(self._model, request, dialect, name, schema))
        except Fault as fault:
            if fault.kind == "forbidden" and not self._allowed:
                await self._check_key(fault, dialect)
            if fault.kind == "missing" and search and dialect.mode != "prompted":
                fault.kind = "rejected"
            raise_setting(fault, self._model)
            raise
        self._allowed = True
        return completion

    async def _check_key(self, fault: Fault, dialect: Dialect) -> None:
        """Raise TeacherError unless a minimal call is allowed: then it is the row that is forbidden."""
        probe = body_of(self._model, _PROBE, replace(dialect, mode="prompted"), "probe", {})
        try:
            await self.client.complete(probe)
        except Fault as second:
            if second.kind in ("forbidden", "auth"):
                raise refused_key(fault, self._model) from None
        self._allowed = True

    async def _greet(self) -> None:
        """Ask for the model list, which costs nothing, to find a wrong address or key within seconds."""
        if self._greeted:
            return
        self._client = self._client or self._open()
        for attempt in (1, 2):
            try:
                await self._client.greet()
                break
            except Fault as fault:
                raise_setting(fault, self._model)
                if attempt == 2:
                    raise TeacherError(_unreachable(self._model, fault)) from None
        self._greeted = True


def _looks_final(fault: Fault) -> bool:
    # Some servers meet a model they do not know with a crash; one that is still loading says 503.
    return fault.kind == "rejected" or fault.status in (500, 501)


def raise_setting(fault: Fault, model: Model) -> None:
    """Raise TeacherError when `fault` is one that every further call would meet too."""
    at = model.section
    if fault.kind == "auth":
        raise refused_key(fault, model) from None
    if fault.kind == "missing":
        raise TeacherError(
            f"{at}.model {model.name!r} is not found at {model.endpoint} ({fault.message}); expected a model "
            f"that the endpoint serves, and a {at}.base_url that ends where /chat/completions begins"
        ) from None
    if fault.kind == "quota":
        raise TeacherError(
            f"the account's quota at {model.endpoint} is used up ({fault.message}); what was paid is kept, "
            "add credit and run again to go on"
        ) from None


def refused_key(fault: Fault, model: Model) -> TeacherError:
    """The error of a key that an endpoint does not take."""
    return TeacherError(
        f"{model.key} is not accepted by {model.endpoint} ({fault.message}); expected a key that is "
        f"valid there and may use {model.section}.model {model.name!r}"
    )


def _unreachable(model: Model, fault: Fault) -> str:
    at = model.section
    setting = "the network" if model.endpoint == OFFICIAL else f"{at}.base_url and that the server runs"
    return f"{at}.base_url: {model.endpoint} cannot be reached ({fault.message}); check {setting}"


def _learn(key: str, dialect: Dialect) -> Callable[[Store], None]:
    text = json.dumps(asdict(dialect))
    return lambda store: store.learn_dialect(key, text)

"""Entry of the guest: the event loop, and what it does with each message of the host."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import sys
from typing import Any

from . import arguments, children, failures, fetch, logs, names, wire
from .engine import Engine, load_settings
from .outbox import Outbox

_LOGGER = logging.getLogger("dynamo_vllm.bridge")


class Bridge:
    """Reads messages when the host signals, and answers each call. Runs on the one Python thread of the host."""

    def __init__(self, host: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._host = host
        self._loop = loop
        self._settings = load_settings(host.settings)
        self._outbox = Outbox(host.post, loop)
        self._engine = Engine(self._outbox, self._settings["drive"])
        self._engine_args: Any = None
        self._tasks: set[asyncio.Task[None]] = set()
        #: Calls that the host may give up.
        self._stoppable: dict[int, asyncio.Task[None]] = {}
        self._ended = loop.create_future()
        self._log_handler = logs.install(host.post)

    async def run(self) -> None:
        """Until the host asks for the end."""
        self._loop.add_reader(self._host.eventfd, self._drain)
        self._drain()
        await self._ended

    def _drain(self) -> None:
        try:
            os.read(self._host.eventfd, 8)
        except BlockingIOError:
            pass  # the first drain, or a signal whose messages were taken already
        for message in wire.read_messages(self._host.take()):
            self._dispatch(message)

    def _dispatch(self, message: wire.Message) -> None:
        if message.op in (wire.OP_SUBMIT, wire.OP_ENCODE) and isinstance(message.body, Exception):
            self._outbox.add(wire.pack_failure(message.id, failures.describe(message.body)))
        elif message.op == wire.OP_SUBMIT:
            self._engine.submit(message.id, message.body, message.blob)
        elif message.op == wire.OP_ENCODE:
            self._engine.encode(message.id, message.body, message.blob)
        elif message.op == wire.OP_ABORT:
            if (task := self._stoppable.get(message.id)) is not None:
                task.cancel()
            else:
                self._engine.abort(message.id)
        elif message.op == wire.OP_STEPS:
            self._engine.record_steps(message.body, message.blob)
        else:
            task = self._loop.create_task(self._answer(message))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            if message.op == wire.OP_ENCODE_IMAGES:
                self._stoppable[message.id] = task
                task.add_done_callback(lambda _: self._stoppable.pop(message.id))

    async def _answer(self, message: wire.Message) -> None:
        try:
            value = await self._perform(message)
            record = wire.pack_reply(message.id, True, value)
        except BaseException as error:  # noqa: BLE001 - boundary mapping: every call gets a reply
            failure = failures.describe(error)
            if isinstance(error, arguments.UsageError):
                failure["kind"] = "usage"
            elif isinstance(error, names.UnsupportedEngineError):
                failure["kind"] = "unsupported"
            elif isinstance(error, fetch.FetchError):
                failure["kind"] = "fetch"
            elif failure["kind"] == "unknown" or message.op not in (wire.OP_CALL, wire.OP_ENCODE_IMAGES):
                failure["traceback"] = failures.trace(error)
            record = wire.pack_reply(message.id, False, failure)
        self._outbox.add(record)

    async def _perform(self, message: wire.Message) -> Any:
        if isinstance(message.body, Exception):
            raise message.body
        if message.op == wire.OP_PARSE:
            self._import_engine()
            self._engine_args, values, model = arguments.parse(message.body["arguments"])
            return {"values": values, "model": model}
        if message.op == wire.OP_HELP:
            sys.argv = ["dynamo-vllm", "--help"]  # vLLM collects its help texts on import, and only if this asks for them
            self._import_engine()
            return arguments.help_text()
        if message.op == wire.OP_FETCH:
            fetched = await fetch.fetch(fetch.Wish(**message.body), lambda progress: self._outbox.add(wire.pack_progress(*progress)))
            return fetched._asdict()
        if message.op == wire.OP_BUILD:
            self._engine.build(self._engine_args, message.body["overrides"], message.body)
            logs.take_over_vllm(self._log_handler)  # the construction configured the logger anew
            await self._engine.open()
            return await self._engine.describe()
        if message.op == wire.OP_ENCODE_IMAGES:
            return await self._engine.encode_images(message.body, message.blob)
        if message.op == wire.OP_CALL:
            return await self._engine.call(message.body["method"], message.body.get("arguments") or {})
        if message.op == wire.OP_SHUTDOWN:
            self._engine.shutdown(message.body["timeout"])
            self._loop.call_later(0, self._end)
            return None
        raise ValueError(f"unknown operation {message.op}")

    def _import_engine(self) -> None:
        path = self._settings.get("simulated_path")
        if path and path not in sys.path:
            sys.path.insert(0, path)
        import vllm  # noqa: F401

        names.check_parser()

        logs.take_over_vllm(self._log_handler)
        # .NET turns null dereferences into signals that it handles; the fault handler would make them fatal.
        faulthandler.disable()

    def _end(self) -> None:
        self._outbox.flush()
        if not self._ended.done():
            self._ended.set_result(None)


def main(host: Any) -> None:
    """Called by the host on its Python thread; returns when the host asked for the end."""
    errors: int | None = load_settings(host.settings).get("error_descriptor")
    if errors is not None:
        logs.redirect_errors(errors)
    children.guard(errors)
    try:
        import uvloop

        loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    except ImportError:
        loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(Bridge(host, loop).run())

"""Engine outputs as records: what each drive hands to the outbox."""

from __future__ import annotations

import contextvars
import logging
import math
from typing import TYPE_CHECKING, Any, Callable

from . import experts, failures, wire

if TYPE_CHECKING:
    from .outbox import Outbox

_LOGGER = logging.getLogger("dynamo_vllm.delivery")

#: The stream that the running add_request call belongs to. The collector is made inside it, before any output can arrive.
CURRENT_STREAM: contextvars.ContextVar["Stream | None"] = contextvars.ContextVar("current_stream", default=None)


class Stream:
    """One request of the host while it runs."""

    __slots__ = ("id", "is_plain", "has_text", "names_prompt", "internal_id", "request_id", "cancelled", "done", "routed_start", "hand_over")

    def __init__(self, stream_id: int) -> None:
        self.id = stream_id
        self.is_plain = False
        self.has_text = False
        #: The next output tells the tokens of the prompt.
        self.names_prompt = False
        self.internal_id: str | None = None
        self.request_id: str | None = None
        self.cancelled = False
        self.done = False
        #: First row of the prompt of which routed experts are wanted.
        self.routed_start = 0
        #: What a decode worker is told of the media at the end; empty for the prompt as vLLM made it longer.
        self.hand_over: dict[str, Any] | None = None


class Delivery:
    """Turns RequestOutput objects into records. Owns the table of token texts that the host has already seen."""

    def __init__(self, outbox: "Outbox", on_done: Callable[[Stream], None]) -> None:
        self._outbox = outbox
        self._on_done = on_done
        self._known_texts: set[int] = set()
        self.decode: Callable[[int], str] = lambda token: ""

    def deliver(self, stream: Stream, output: Any) -> None:
        """One RequestOutput, or the exception that ends the stream.

        Runs inside vLLM's output loop, which an exception would end for every request, so a failure here ends this stream alone.
        """
        if stream.done:
            return
        try:
            if isinstance(output, BaseException):
                self.fail(stream, output)
            else:
                self._deliver(stream, output)
        except Exception as error:  # noqa: BLE001 - boundary mapping
            _LOGGER.exception("an output cannot be delivered")
            self.fail(stream, error)

    def _deliver(self, stream: Stream, output: Any) -> None:
        add = self._outbox.add
        prompt_ids = output.prompt_token_ids
        prompt = -1 if prompt_ids is None else len(prompt_ids)
        cached = -1 if output.num_cached_tokens is None else output.num_cached_tokens
        choices = output.outputs
        finished = output.finished
        if not choices:
            add(wire.pack_tokens(stream.id, 0, wire.FINISH_NO_OUTPUTS, wire.FLAG_FINISHED, prompt, cached, ()))
            finished = True
        last = len(choices) - 1
        for position, choice in enumerate(choices):
            flags = wire.FLAG_FINISHED if finished and position == last else 0
            reason = choice.finish_reason
            tokens = choice.token_ids
            if (
                choice.logprobs is None
                and not stream.has_text
                and (reason is None or _is_plain_finish(output, choice) and stream.hand_over is None)
                and output.prompt_logprobs is None
                and len(tokens) == 1
            ):
                code = wire.FINISH_CODES.get(reason, wire.FINISH_OTHER)
                if code != wire.FINISH_OTHER:
                    add(wire.pack_token(stream.id, choice.index, code, flags, prompt, cached, tokens[0]))
                    continue
            add(self._pack(stream, output, choice, flags, prompt, cached))
        if finished:
            stream.done = True
            self._on_done(stream)

    def fail(self, stream: Stream, error: BaseException) -> None:
        """Ends the stream with an error. At most once; later outputs are dropped."""
        if not stream.done:
            stream.done = True
            self._outbox.add(wire.pack_failure(stream.id, failures.describe(error)))
            self._on_done(stream)

    def _pack(self, stream: Stream, output: Any, choice: Any, flags: int, prompt: int, cached: int) -> bytes:
        reason = choice.finish_reason
        extras: dict[str, Any] = {}
        code = wire.FINISH_CODES.get(reason, wire.FINISH_OTHER)
        if code == wire.FINISH_OTHER:
            # vLLM may add words behind a known reason ("abort: ...").
            code = wire.FINISH_CODES["abort"] if str(reason).startswith("abort") else code
            extras["finish_reason"] = str(reason)
        if choice.stop_reason:
            extras["stop_reason"] = choice.stop_reason
        if output.prompt_logprobs is not None:
            extras["prompt_logprobs"] = [_prompt_position(position) for position in output.prompt_logprobs]
        if stream.names_prompt:
            stream.names_prompt = False
            extras["prompt_token_ids"] = list(output.prompt_token_ids or ())
        if reason is not None and output.kv_transfer_params is not None:
            extras["kv_transfer_params"] = output.kv_transfer_params
        if reason is not None:
            extras.update(experts.describe(choice, stream.routed_start, max(prompt, 0)))
        if reason is not None and stream.hand_over is not None:
            extras["embedding_params"] = stream.hand_over or {"expanded_prompt_token_ids": list(output.prompt_token_ids or ())}
        logprobs = b""
        if choice.logprobs is not None and choice.token_ids:
            positions = self._candidates(choice)
            if positions is not None:
                flags |= wire.FLAG_LOGPROBS
                logprobs = wire.pack_logprobs(positions)
        encoded = b""
        if extras:
            flags |= wire.FLAG_EXTRAS
            encoded = wire.to_json(extras)
        text = b""
        if stream.has_text:
            flags |= wire.FLAG_TEXT
            text = choice.text.encode("utf-8", "replace")
        return wire.pack_tokens(stream.id, choice.index, code, flags, prompt, cached, choice.token_ids, logprobs, encoded, text)

    def _candidates(self, choice: Any) -> list[list[tuple[int, int, float]]] | None:
        positions = []
        for token, entries in zip(choice.token_ids, choice.logprobs):
            if not entries:
                return None
            row = []
            for candidate, value in entries.items():
                self._announce(candidate)
                row.append((candidate, value.rank or 0, _finite(value.logprob)))
            positions.append(row)
        return positions if len(positions) == len(choice.token_ids) else None

    def _announce(self, token: int) -> None:
        """By itself, whatever vLLM made of it beside the tokens before it: the host keeps the text for every stream."""
        if token not in self._known_texts:
            self._known_texts.add(token)
            self._outbox.add(wire.pack_token_text(token, self.decode(token)))


class StreamQueue:
    """What vLLM's processor puts the outputs of one request into, where nobody waits for them: each goes on at once."""

    __slots__ = ("request_id", "plain_stream", "_stream", "_deliver")

    def __init__(self, stream: Stream, delivery: Delivery, request_id: str) -> None:
        self.request_id = request_id
        #: For the raw drive: the stream if it wants nothing but tokens.
        self.plain_stream = stream if stream.is_plain else None
        self._stream = stream
        self._deliver = delivery.deliver

    def put(self, output: Any) -> None:
        """A RequestOutput, or the exception that ends the request."""
        self._deliver(self._stream, output)


def collector_class(base: type, delivery: Delivery) -> type:
    """A collector to put in vLLM's place: it hands each output on at once and never wakes a task."""

    class StreamCollector(base):  # type: ignore[misc]
        """Belongs to the stream whose add_request makes it; without one it is vLLM's own collector."""

        def __init__(self, output_kind: Any, request_id: str) -> None:
            super().__init__(output_kind, request_id)
            self._stream = CURRENT_STREAM.get()
            #: For the raw drive: the stream if it wants nothing but tokens.
            self.plain_stream = None
            if self._stream is not None:
                self._stream.internal_id = request_id
                if self._stream.is_plain:
                    self.plain_stream = self._stream

        def put(self, output: Any) -> None:
            if self._stream is None:
                super().put(output)
            else:
                delivery.deliver(self._stream, output)

    return StreamCollector


def _is_plain_finish(output: Any, choice: Any) -> bool:
    return (
        not choice.stop_reason
        and output.kv_transfer_params is None
        and getattr(choice, "routed_experts", None) is None
        and getattr(choice, "sampling_mask", None) is None
    )


def _prompt_position(position: Any) -> Any:
    if position is None:
        return None
    return {str(token): _prompt_entry(value) for token, value in position.items()}


def _prompt_entry(value: Any) -> dict[str, Any]:
    entry: dict[str, Any] = {"logprob": _finite(value.logprob)}
    if value.rank is not None:
        entry["rank"] = value.rank
    if value.decoded_token is not None:
        entry["decoded_token"] = value.decoded_token
    return entry


def _finite(logprob: float) -> float:
    # JSON has no infinity; the reference writes this number for it.
    return float(logprob) if math.isfinite(logprob) else -1e30

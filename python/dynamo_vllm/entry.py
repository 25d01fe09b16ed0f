"""The short way in: most requests differ from an earlier one in nothing but prompt, length and identity.

For every request vLLM validates, copies and completes the sampling parameters: most of the time that one spends before the engine sees it,
one after the other on the event loop. All that depends on the parameters alone is done once here, by vLLM itself, and what it made is kept
as a template. The checks that depend on the prompt are repeated; a request that fails one goes vLLM's own way, to be refused in its words.
So does every request with a field that is not named here (decision 0008).
"""

from __future__ import annotations

import os
import time
from array import array
from copy import copy
from typing import TYPE_CHECKING, Any, Awaitable, Callable

from . import delivery, eager, names, raw

if TYPE_CHECKING:
    from .delivery import Delivery, Stream
    from .direct import Teacher

#: Fields of a request that are filled in here. With any other it is rare, or vLLM does more with it.
_FIELDS = frozenset({"request_id", "sampling", "cache_salt", "priority", "trace_headers", "session_id", "data_parallel_rank"})

#: Parameters whose handling by vLLM depends on nothing but the parameters. The length is one of them only where it is valid at all.
_SAMPLING = frozenset(
    {
        "n", "temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty", "max_tokens",
        "min_tokens", "include_stop_str_in_output", "allowed_token_ids", "logprob_token_ids", "ignore_eos", "stop_token_ids", "logprobs",
        "skip_reading_prefix_cache",
    }
)

#: What a request for the engine consists of. With other fields, vLLM may do more than is known here.
_KNOWN = frozenset(
    {
        "request_id", "prompt_token_ids", "mm_features", "sampling_params", "pooling_params", "arrival_time", "lora_request", "cache_salt",
        "data_parallel_rank", "prompt_embeds", "prompt_is_token_ids", "client_index", "current_wave", "priority", "trace_headers",
        "resumable", "external_req_id", "reasoning_ended", "reasoning_parser_kwargs", "abort_immediately", "session_id", "kv_hints",
    }
)

#: Distinct sets of parameters that are kept. All are forgotten at the bound, and come back with their next request.
_TEMPLATES = 256

#: Characters of a set of parameters that is kept: a list of a whole vocabulary is not. With the bound above, a megabyte or two in all.
_KEY_LENGTH = 2048


class Template:
    """What vLLM made of the first request with these parameters, less its prompt. Never sent itself, never changed."""

    __slots__ = ("request", "is_plain", "least_tokens")

    def __init__(self, request: Any) -> None:
        params = request.sampling_params
        request.prompt_token_ids = None  # may be long, and is nobody else's business
        self.request = request
        self.is_plain = raw.is_plain(params)
        self.least_tokens = max(1, params.min_tokens)


class ShortEntry:
    """Adds requests to the engine from the event loop's thread."""

    def __init__(self, llm: Any, tasks: Any, build: Callable[[dict[str, Any]], Any], outputs: "Delivery") -> None:
        self._llm = llm
        self._tasks = tasks
        self._build = build
        self._delivery = outputs
        self._templates: dict[tuple[str, int | None], Template] = {}
        self._process: Callable[..., Any] = llm.input_processor.process_inputs
        #: Shows the host what is learnt here, where it has a way to the engine of its own.
        self.teacher: "Teacher | None" = None
        self.longest = llm.model_config.max_model_len - 1
        vocabulary = llm.model_config.get_vocab_size() - 1
        self.highest = max(vocabulary, getattr(llm.input_processor.tokenizer, "max_token_id", vocabulary))

    def request(self, fields: dict[str, Any], blob: bytes) -> tuple[Any, bool] | None:
        """The engine's request and whether it is plain; None if it must go vLLM's own way. Raises vLLM's refusal of the parameters."""
        question = fields.pop("teach", None)
        if not fields.keys() <= _FIELDS:
            return None
        unsigned = array("I")  # a negative id becomes a large one
        unsigned.frombytes(blob)
        tokens = unsigned.tolist()
        if not 1 <= len(tokens) <= self.longest or max(tokens) > self.highest:
            return None
        rest = fields["sampling"].copy()
        max_tokens = rest.pop("max_tokens", None)
        has_transfer = rest.pop("kv_transfer_params", None) is not None
        key = (repr(rest), fields.get("data_parallel_rank"))
        template = self._templates.get(key)
        if template is None and (not has_transfer or question is not None):
            template = self._learn(key, rest, fields, tokens, max_tokens)
        if template is None or max_tokens is None or max_tokens < template.least_tokens:
            return None
        if question is not None and self.teacher is not None:
            self.teacher.teach(question, template)
        if has_transfer:
            return None  # the host writes it into what it was taught; here it is one of the rare parameters
        request = copy(template.request)
        if request.sampling_params.max_tokens != max_tokens:
            request.sampling_params = copy(request.sampling_params)
            request.sampling_params.max_tokens = max_tokens
        request.request_id = fields["request_id"]
        request.prompt_token_ids = tokens
        request.arrival_time = time.time()
        request.cache_salt = fields.get("cache_salt") or None
        request.priority = fields.get("priority", 0)
        request.trace_headers = fields.get("trace_headers")
        request.session_id = fields.get("session_id")
        return request, template.is_plain

    def add(self, stream: "Stream", request: Any) -> Awaitable[None] | None:
        """Returns what is left to be done in a task: nothing, unless the engine's socket is full. Raises as `AsyncLLM.add_request` does."""
        # As vLLM makes ids unique, with the number of the stream in place of a random one.
        request.external_req_id = request.request_id
        request.request_id = stream.internal_id = f"{request.request_id}-{stream.id:08x}"
        return eager.start(self._llm._add_request(request, None, None, 0, delivery.StreamQueue(stream, self._delivery, request.request_id)))

    def is_open(self) -> bool:
        """Otherwise vLLM has something to say or to start first."""
        return not self._llm.errored and self._llm.output_handler is not None

    def _learn(
        self, key: tuple[str, int | None], rest: dict[str, Any], fields: dict[str, Any], tokens: list[int], max_tokens: int | None
    ) -> Template | None:
        if not rest.keys() <= _SAMPLING or len(key[0]) > _KEY_LENGTH or max_tokens is None or max_tokens < 1:
            return None
        request = self._process(
            fields["request_id"],
            {"type": "token", "prompt_token_ids": tokens},
            self._build({**rest, "max_tokens": max_tokens}),
            supported_tasks=self._tasks,
            data_parallel_rank=fields.get("data_parallel_rank"),
        )
        if request.sampling_params.n != 1:
            return None
        if len(self._templates) >= _TEMPLATES:
            self._templates.clear()
        template = self._templates[key] = Template(request)
        return template


def wire_fields() -> list[str]:
    """Of a request, in the order in which they are encoded."""
    from vllm.v1.engine import EngineCoreRequest

    names_of = getattr(EngineCoreRequest, "__struct_fields__", None) or EngineCoreRequest.__annotations__
    return [name for name in names_of if name != "child_index"]  # the simulated engine's, and not on the wire


def open_for(llm: Any, tasks: Any, build: Callable[[dict[str, Any]], Any], outputs: "Delivery") -> ShortEntry | str:
    """The short way into this engine, or why there is none."""
    import vllm

    if not names.is_tested(vllm.__version__):
        return f"vLLM is {vllm.__version__}, not {names.RELEASE}"
    if lacking := names.missing(names.ENTRY):
        return f"it lacks {', '.join(lacking)}"
    if problem := _replaced():
        return problem
    fields = frozenset(wire_fields())
    if fields != _KNOWN:
        return f"requests of this vLLM differ in the fields {', '.join(sorted(fields ^ _KNOWN))}"
    if llm.input_processor.tokenizer is None:
        return "there is no tokenizer"
    for kind in ("is_encoder_decoder", "is_diffusion"):
        if getattr(llm.model_config, kind, False):
            return f"the model's {kind} is set"
    if os.environ.get("VLLM_DISABLE_REQUEST_ID_RANDOMIZATION", "0") != "0":
        return "VLLM_DISABLE_REQUEST_ID_RANDOMIZATION is set"
    if _has_logits_processors(llm.model_config):
        return "logits processors are installed, which may look at every request"
    if _platform_validates():
        return "this platform validates requests"
    return ShortEntry(llm, tasks, build, outputs)


def _replaced() -> str | None:
    """What is passed over here may be there for somebody else's sake."""
    from vllm.v1.engine.async_llm import AsyncLLM
    from vllm.v1.engine.input_processor import InputProcessor

    for owner, function in ((AsyncLLM, "add_request"), (InputProcessor, "process_inputs"), (InputProcessor, "assign_request_id")):
        if file := names.replaced(owner, function):
            return f"{owner.__name__}.{function} has been replaced by one in {file}"
    return None


def _has_logits_processors(model: Any) -> bool:
    from importlib.metadata import entry_points

    return bool(getattr(model, "logits_processors", None)) or bool(entry_points(group="vllm.logits_processors"))


def _platform_validates() -> bool:
    try:
        from vllm.platforms import current_platform
        from vllm.platforms.interface import Platform
    except ImportError:
        return False  # the simulated engine has none
    validate: Any = type(current_platform).validate_request
    return validate.__func__ is not Platform.validate_request.__func__

"""SamplingParams with vLLM's fields, defaults, checks and error texts.

A plain class instead of a dataclass: callers set private attributes, assign
fields freely and then run `__post_init__` again to validate, and an unknown
keyword must fail with the text of the struct library vLLM uses.
"""

from __future__ import annotations

import copy
import math
import os
from enum import Enum
from typing import Any

from vllm.exceptions import VLLMValidationError
from vllm.logger import init_logger

logger = init_logger(__name__)

GREEDY_BELOW = 1e-5
SMALLEST_TEMPERATURE = 1e-2
MAX_LOGPROB_TOKEN_IDS = 128


class RequestOutputKind(Enum):
    """What each output carries: everything so far, the news, or only the end."""

    CUMULATIVE = 0
    DELTA = 1
    FINAL_ONLY = 2


_CONSTRAINTS = ("json", "regex", "choice", "grammar", "json_object", "structural_tag")


class StructuredOutputsParams:
    """One constraint on the output's shape."""

    def __init__(
        self,
        json: str | dict[str, Any] | None = None,
        regex: str | None = None,
        choice: list[str] | None = None,
        grammar: str | None = None,
        json_object: bool | None = None,
        disable_any_whitespace: bool = False,
        disable_additional_properties: bool = False,
        whitespace_pattern: str | None = None,
        structural_tag: str | None = None,
    ) -> None:
        self.json = json
        self.regex = regex
        self.choice = choice
        self.grammar = grammar
        self.json_object = json_object
        self.disable_any_whitespace = disable_any_whitespace
        self.disable_additional_properties = disable_additional_properties
        self.whitespace_pattern = whitespace_pattern
        self.structural_tag = structural_tag
        self._backend: str | None = None
        self._backend_was_auto = False
        given = sum(getattr(self, name) is not None for name in _CONSTRAINTS)
        if given > 1:
            raise VLLMValidationError(
                "You can only use one kind of structured outputs constraint "
                f"but multiple are specified: {self.__dict__}"
            )
        if given == 0:
            raise VLLMValidationError(
                "You must use one kind of structured outputs constraint "
                f"but none are specified: {self.__dict__}"
            )

    def all_constraints_none(self) -> bool:
        return all(getattr(self, name) is None for name in _CONSTRAINTS)

    def __repr__(self) -> str:
        fields = ", ".join(f"{k}={v!r}" for k, v in self.__dict__.items())
        return f"StructuredOutputsParams({fields})"


class RepetitionDetectionParams:
    """Accepted for signature's sake; the simulation never repeats itself."""

    def __init__(
        self, max_pattern_size: int = 0, min_pattern_size: int = 0, min_count: int = 0
    ) -> None:
        self.max_pattern_size = max_pattern_size
        self.min_pattern_size = min_pattern_size
        self.min_count = min_count


# Field -> default. Order is the positional order of vLLM's constructor.
_DEFAULTS: dict[str, Any] = {
    "n": 1,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "repetition_penalty": 1.0,
    "temperature": 1.0,
    "watermarking": True,
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    "seed": None,
    "stop": None,
    "stop_token_ids": None,
    "ignore_eos": False,
    "max_tokens": 16,
    "min_tokens": 0,
    "logprobs": None,
    "prompt_logprobs": None,
    "prompt_logprob_token_ids": None,
    "prompt_logprob_start": None,
    "logprob_token_ids": None,
    "flat_logprobs": False,
    "detokenize": True,
    "skip_special_tokens": True,
    "spaces_between_special_tokens": True,
    "include_stop_str_in_output": False,
    "output_kind": RequestOutputKind.CUMULATIVE,
    "stream_interval": None,
    "skip_clone": False,
    "output_text_buffer_length": 0,
    "_eos_token_id": None,
    "_all_stop_token_ids": None,
    "structured_outputs": None,
    "logit_bias": None,
    "allowed_token_ids": None,
    "extra_args": None,
    "bad_words": None,
    "_bad_words_token_ids": None,
    "skip_reading_prefix_cache": None,
    "thinking_token_budget": None,
    "repetition_detection": None,
    "routed_experts_prompt_start": 0,
    "trace_decode_token_ids": None,
}
_NAMES = tuple(_DEFAULTS)

_SHOWN = (
    "n presence_penalty frequency_penalty repetition_penalty temperature watermarking "
    "top_p top_k min_p seed stop stop_token_ids bad_words thinking_token_budget "
    "include_stop_str_in_output ignore_eos max_tokens min_tokens logprobs "
    "prompt_logprobs skip_special_tokens spaces_between_special_tokens "
    "structured_outputs extra_args"
).split()


def _reject(message: str, parameter: str | None = None, value: Any = None) -> None:
    raise VLLMValidationError(message, parameter=parameter, value=value)


class SamplingParams:
    """Sampling parameters of one request."""

    #: vLLM's are a structure of msgspec, which names its fields so.
    __struct_fields__ = tuple(_DEFAULTS)

    n: int
    temperature: float
    max_tokens: int | None
    min_tokens: int
    output_kind: RequestOutputKind
    stop: list[str]
    stop_token_ids: list[int]
    structured_outputs: StructuredOutputsParams | None
    extra_args: dict[str, Any] | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        values = dict(_DEFAULTS)
        if len(args) > len(_NAMES):
            raise TypeError("Extra positional arguments provided")
        values.update(zip(_NAMES, args))
        for name, value in kwargs.items():
            if name not in _DEFAULTS:
                raise TypeError(f"Unexpected keyword argument '{name}'")
            values[name] = value
        if values["_all_stop_token_ids"] is None:
            values["_all_stop_token_ids"] = set()
        self.__dict__.update(values)
        self.__post_init__()

    @staticmethod
    def from_optional(**kwargs: Any) -> "SamplingParams":
        """Like the constructor, but None means the default and bias keys may be text."""
        bias = kwargs.get("logit_bias")
        if bias is not None:
            bad = [key for key in bias if not _is_integer_text(key)]
            if bad:
                _reject(
                    "logit_bias contains key(s) that cannot be "
                    f"converted to integer token IDs: {bad!r}",
                    "logit_bias",
                    bad,
                )
            kwargs["logit_bias"] = {
                int(key): min(100.0, max(-100.0, value)) for key, value in bias.items()
            }
        nullable = ("max_tokens", "seed")
        return SamplingParams(
            **{k: v for k, v in kwargs.items() if v is not None or k in nullable}
        )

    def __post_init__(self) -> None:
        if 0 < self.temperature < SMALLEST_TEMPERATURE:
            logger.warning(
                "temperature %s is raised to %s", self.temperature, SMALLEST_TEMPERATURE
            )
            self.temperature = SMALLEST_TEMPERATURE
        if self.seed == -1:
            self.seed = None
        if self.thinking_token_budget == -1:
            self.thinking_token_budget = None
        if self.stop is None:
            self.stop = []
        elif isinstance(self.stop, str):
            self.stop = [self.stop]
        self.stop_token_ids = list(dict.fromkeys(self.stop_token_ids or ()))
        self.bad_words = list(dict.fromkeys(self.bad_words or ()))
        if self.logprobs is True:
            self.logprobs = 1
        if self.prompt_logprobs is True:
            self.prompt_logprobs = 1
        if self.stop and not self.include_stop_str_in_output:
            self.output_text_buffer_length = max(len(text) for text in self.stop) - 1
        self._verify_args()
        if self.temperature < GREEDY_BELOW:
            self.top_p, self.top_k, self.min_p = 1.0, 0, 0.0
            if self.n > 1:
                _reject(f"n must be 1 when using greedy sampling, got {self.n}.")
        self._all_stop_token_ids.update(self.stop_token_ids)
        if self.skip_reading_prefix_cache is None:
            self.skip_reading_prefix_cache = (
                self.prompt_logprobs is not None
                or self.prompt_logprob_token_ids is not None
            )

    def _verify_args(self) -> None:
        limit = int(os.environ.get("VLLM_MAX_N_SEQUENCES", "16384"))
        if not isinstance(self.n, int):
            _reject(f"n must be an int, but is of type {type(self.n)}")
        if self.n < 1:
            _reject(f"n must be at least 1, got {self.n}.")
        if self.n > limit:
            _reject(
                f"n must be at most {limit}, got {self.n}. To increase this limit, "
                "set the VLLM_MAX_N_SEQUENCES environment variable."
            )
        for name in ("presence_penalty", "frequency_penalty"):
            value = getattr(self, name)
            if not -2.0 <= value <= 2.0:
                _reject(f"{name} must be in [-2, 2], got {value}.")
        if not math.isfinite(self.repetition_penalty):
            _reject(
                "repetition_penalty must be a finite number, "
                f"got {self.repetition_penalty}."
            )
        if self.repetition_penalty <= 0.0:
            _reject(
                "repetition_penalty must be greater than zero, got "
                f"{self.repetition_penalty}."
            )
        warmth = self.temperature
        if not math.isfinite(warmth):
            _reject(
                f"temperature must be a finite number, got {warmth}.",
                "temperature",
                warmth,
            )
        if warmth < 0.0:
            _reject(
                f"temperature must be non-negative, got {warmth}.", "temperature", warmth
            )
        if warmth > 2.0:
            _reject(
                f"temperature must be in [0, 2], got {warmth}.", "temperature", warmth
            )
        if not 0.0 < self.top_p <= 1.0:
            _reject(f"top_p must be in (0, 1], got {self.top_p}.", "top_p", self.top_p)
        if self.top_k < -1:
            _reject(f"top_k must be 0 (disable), or at least 1, got {self.top_k}.")
        if not isinstance(self.top_k, int):
            _reject(f"top_k must be an integer, got {type(self.top_k).__name__}")
        if not 0.0 <= self.min_p <= 1.0:
            _reject(f"min_p must be in [0, 1], got {self.min_p}.")
        if self.max_tokens is not None and self.max_tokens < 1:
            _reject(
                f"max_tokens must be at least 1, got {self.max_tokens}.",
                "max_tokens",
                self.max_tokens,
            )
        if self.min_tokens < 0:
            _reject(
                f"min_tokens must be greater than or equal to 0, got {self.min_tokens}."
            )
        if self.max_tokens is not None and self.min_tokens > self.max_tokens:
            _reject(
                "min_tokens must be less than or equal to "
                f"max_tokens={self.max_tokens}, got {self.min_tokens}."
            )
        interval = self.stream_interval
        if interval is not None and interval < 1:
            _reject(
                f"stream_interval must be at least 1, got {interval}.",
                "stream_interval",
                interval,
            )
        for name in ("logprobs", "prompt_logprobs"):
            count = getattr(self, name)
            if count is not None and count != -1 and count < 0:
                _reject(
                    f"{name} must be non-negative or -1, got {count}.", name, count
                )
        if not all(isinstance(token, int) for token in self.stop_token_ids):
            _reject(
                f"stop_token_ids must contain only integers, got {self.stop_token_ids}."
            )
        if any(not text for text in self.stop):
            _reject("stop cannot contain an empty string.")
        if self.stop and not self.detokenize:
            _reject(
                "stop strings are only supported when detokenize is True. "
                "Set detokenize=True to use stop."
            )
        if any(not word for word in self.bad_words):
            _reject(
                "bad_words cannot contain an empty string. "
                f"Got bad_words={self.bad_words}"
            )

    def update_from_generation_config(
        self, generation_config: dict[str, Any], eos_token_id: int | None = None
    ) -> None:
        """The engine stops only on what is written here, so fill in the EOS ids."""
        if not self.ignore_eos:
            self._eos_token_id = eos_token_id
        if eos_token_id is not None:
            self._all_stop_token_ids.add(eos_token_id)
        extra = generation_config.get("eos_token_id")
        if extra is None:
            return
        ids = {extra} if isinstance(extra, int) else set(extra)
        ids.discard(eos_token_id)
        if not ids:
            return
        self._all_stop_token_ids.update(ids)
        if not self.ignore_eos:
            self.stop_token_ids = list(ids | set(self.stop_token_ids))

    def update_from_tokenizer(self, tokenizer: Any) -> None:
        """Turn bad_words into token sequences."""
        if not self.bad_words:
            return
        sequences: list[list[int]] = []
        for word in self.bad_words:
            for text in (word.lstrip(), " " + word.lstrip()):
                ids = tokenizer.encode(text, add_special_tokens=False)
                if ids and ids not in sequences:
                    sequences.append(ids)
        self._bad_words_token_ids = sequences

    @property
    def eos_token_id(self) -> int | None:
        return self._eos_token_id

    @property
    def all_stop_token_ids(self) -> set[int]:
        return self._all_stop_token_ids

    @property
    def bad_words_token_ids(self) -> list[list[int]] | None:
        return self._bad_words_token_ids

    @property
    def num_logprobs(self) -> int | None:
        if self.logprobs is not None:
            return self.logprobs
        return len(self.logprob_token_ids) if self.logprob_token_ids else None

    def clone(self) -> "SamplingParams":
        """A copy the engine may change: containers fresh, caller's values shared."""
        twin = SamplingParams.__new__(SamplingParams)
        twin.__dict__.update(self.__dict__)
        if not self.skip_clone:
            twin._all_stop_token_ids = set(self._all_stop_token_ids)
            twin.stop_token_ids = list(self.stop_token_ids)
            twin.structured_outputs = copy.copy(self.structured_outputs)
        return twin

    def verify(
        self,
        model_config: Any,
        speculative_config: Any,
        structured_outputs_config: Any,
        tokenizer: Any,
    ) -> None:
        """The checks that need the model: vocabulary and configured limits."""
        vocab = model_config.get_vocab_size()
        most = model_config.max_logprobs
        if most == -1:
            most = vocab
        for name, kind in (("logprobs", "sample"), ("prompt_logprobs", "prompt")):
            count = getattr(self, name)
            if name == "prompt_logprobs":
                self._verify_logprob_token_ids(vocab)
            if not count:
                continue
            count = vocab if count == -1 else count
            if count > most:
                _reject(
                    f"Requested {kind} logprobs of {count}, "
                    f"which is greater than max allowed: {most}",
                    name,
                    count,
                )
        if self.logit_bias:
            outside = [t for t in self.logit_bias if t < 0 or t >= vocab]
            if outside:
                self._reject_tokens("logit_bias", outside, vocab)
        if self.trace_decode_token_ids is not None:
            if not self.trace_decode_token_ids:
                raise ValueError("trace_decode_token_ids must be a non-empty list.")
            if self.n != 1:
                raise ValueError("trace_decode_token_ids requires n=1.")
            outside = [t for t in self.trace_decode_token_ids if t < 0 or t >= vocab]
            if outside:
                self._reject_tokens("trace_decode_token_ids", outside, vocab)
        outside = [t for t in self.stop_token_ids if t < 0 or t >= vocab]
        if outside:
            self._reject_tokens("stop_token_ids", outside, vocab)
        if self.allowed_token_ids is not None:
            if not self.allowed_token_ids:
                _reject(
                    "allowed_token_ids is not None and empty!",
                    "allowed_token_ids",
                    self.allowed_token_ids,
                )
            outside = [t for t in self.allowed_token_ids if t < 0 or t >= vocab]
            if outside:
                _reject(
                    "allowed_token_ids contains out-of-vocab token id!",
                    "allowed_token_ids",
                    outside,
                )
        if speculative_config is not None and (
            self.min_p > GREEDY_BELOW or self.logit_bias
        ):
            _reject(
                "The min_p and logit_bias sampling parameters "
                "are not yet supported with speculative decoding."
            )
        if self.structured_outputs is not None:
            self._verify_structured_outputs(tokenizer)

    @staticmethod
    def _reject_tokens(name: str, outside: list[int], vocab: int) -> None:
        _reject(
            f"token_id(s) {outside} in {name} contain out-of-vocab token ids. "
            f"Vocabulary size: {vocab}",
            name,
            outside,
        )

    def _verify_logprob_token_ids(self, vocab: int) -> None:
        ids = self.logprob_token_ids
        if ids is None:
            return
        count = len(ids)
        if count > MAX_LOGPROB_TOKEN_IDS:
            _reject(
                f"Requested logprob_token_ids of length {count}, "
                f"which is greater than max allowed: {MAX_LOGPROB_TOKEN_IDS}",
                "logprob_token_ids",
                count,
            )
        outside = [t for t in ids if t < 0 or t >= vocab]
        if outside:
            self._reject_tokens("logprob_token_ids", outside, vocab)
        if self.logprobs is not None and self.logprobs != count:
            _reject(
                "When both logprobs and logprob_token_ids are set, "
                "logprobs must equal len(logprob_token_ids). Got "
                f"logprobs={self.logprobs}, len(logprob_token_ids)={count}.",
                "logprob_token_ids",
                count,
            )

    def _verify_structured_outputs(self, tokenizer: Any) -> None:
        from vllm.simulation.structured import verify_structured_outputs

        verify_structured_outputs(self.structured_outputs, tokenizer)

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)}" for name in _SHOWN)
        return f"SamplingParams({fields})"


def _is_integer_text(key: Any) -> bool:
    try:
        int(key)
    except (TypeError, ValueError):
        return False
    return True

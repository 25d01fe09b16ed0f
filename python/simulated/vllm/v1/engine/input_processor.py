"""From a caller's prompt and parameters to an EngineCoreRequest, or a refusal."""

from __future__ import annotations

import os
import time
from typing import Any

from vllm.exceptions import VLLMValidationError
from vllm.pooling_params import PoolingParams
from vllm.sampling_params import SamplingParams
from vllm.simulation import images
from vllm.utils import random_uuid
from vllm.v1.engine import EngineCoreRequest


class Renderer:
    """Owns the tokenizer; vLLM's also renders chat templates and images."""

    def __init__(self, vllm_config: Any) -> None:
        model = vllm_config.model_config
        self.tokenizer = None if model.skip_tokenizer_init else model.make_tokenizer()
        self._eos_token_id = model.eos_token_id
        self.mm_processor_cache = None

    def get_tokenizer(self) -> Any:
        if self.tokenizer is None:
            raise ValueError("Tokenizer not available when `skip_tokenizer_init=True`")
        return self.tokenizer

    def get_eos_token_id(self) -> int | None:
        return self._eos_token_id

    def get_bos_token_id(self) -> int | None:
        return None if self.tokenizer is None else self.tokenizer.bos_token_id

    def stat_mm_cache(self) -> None:
        return None

    def clear_mm_cache(self) -> None:
        """No multimodal inputs here."""

    def shutdown(self) -> None:
        """Nothing to stop."""


class InputProcessor:
    def __init__(self, vllm_config: Any, renderer: Renderer | None = None) -> None:
        self.vllm_config = vllm_config
        self.model_config = vllm_config.model_config
        self.lora_config = vllm_config.lora_config
        self.renderer = renderer or Renderer(vllm_config)
        self.generation_config_fields = self.model_config.try_get_generation_config()

    @property
    def tokenizer(self) -> Any:
        return self.renderer.tokenizer

    def get_tokenizer(self) -> Any:
        return self.renderer.get_tokenizer()

    @staticmethod
    def assign_request_id(request: EngineCoreRequest) -> None:
        """Make the id unique: two callers may use the same one at a time."""
        if request.external_req_id is not None:
            raise ValueError(
                "The external_req_id field should not be set on EngineCoreRequests"
                " passed to vLLM; use the request_id field."
            )
        request.external_req_id = request.request_id
        if os.environ.get("VLLM_DISABLE_REQUEST_ID_RANDOMIZATION", "0") != "1":
            request.request_id = f"{request.external_req_id}-{random_uuid()[:8]}"

    async def process_inputs_async(self, *args: Any, **kwargs: Any) -> EngineCoreRequest:
        return self.process_inputs(*args, **kwargs)

    def process_inputs(
        self,
        request_id: str,
        prompt: Any,
        params: Any,
        supported_tasks: tuple[str, ...] = ("generate",),
        arrival_time: float | None = None,
        lora_request: Any = None,
        tokenization_kwargs: dict[str, Any] | None = None,
        trace_headers: Any = None,
        priority: int = 0,
        data_parallel_rank: int | None = None,
        resumable: bool = False,
        session_id: str | None = None,
        kv_hints: Any = None,
    ) -> EngineCoreRequest:
        self._check_params(params, supported_tasks)
        if lora_request is not None and not self.lora_config:
            raise VLLMValidationError(
                f"Got lora_request {lora_request} but LoRA is not enabled!"
            )
        self._check_rank(data_parallel_rank)
        token_ids, embeds, text, salt = self._read_prompt(prompt, tokenization_kwargs)
        length = len(embeds) if token_ids is None else len(token_ids)
        rendered = isinstance(prompt, dict) and "type" in prompt
        is_pooling = isinstance(params, PoolingParams)
        self._check_length(length, rendered, most_output=0 if is_pooling else 1)
        if token_ids and self.tokenizer is not None:
            self._check_vocabulary(token_ids)
        params = params.clone() if is_pooling else self._complete(params, length)
        return EngineCoreRequest(
            request_id=request_id,
            prompt_token_ids=token_ids,
            mm_features=None,
            sampling_params=None if is_pooling else params,
            pooling_params=params if is_pooling else None,
            arrival_time=time.time() if arrival_time is None else arrival_time,
            lora_request=lora_request,
            cache_salt=salt,
            data_parallel_rank=data_parallel_rank,
            prompt_embeds=embeds,
            priority=priority,
            trace_headers=trace_headers,
            resumable=resumable,
            session_id=session_id,
            kv_hints=kv_hints,
        )

    # -- checks ----------------------------------------------------------

    def _check_params(self, params: Any, supported_tasks: tuple[str, ...]) -> None:
        if isinstance(params, PoolingParams):
            self._check_pooling(params, supported_tasks)
            return
        if not isinstance(params, SamplingParams):
            raise TypeError(
                "params must be either SamplingParams or PoolingParams, "
                f"but got {type(params).__name__}"
            )
        if "generate" not in supported_tasks:
            raise VLLMValidationError("This model does not support generation")
        params.verify(
            self.model_config,
            self.vllm_config.speculative_config,
            self.vllm_config.structured_outputs_config,
            self.tokenizer,
        )
        if params.thinking_token_budget is not None and not (
            self.vllm_config.reasoning_config
            or self.vllm_config.structured_outputs_config.reasoning_parser
        ):
            raise VLLMValidationError(
                "thinking_token_budget is set but reasoning_config is "
                "not configured. Please set --reasoning-parser "
                "and/or --reasoning-config to use thinking_token_budget."
            )

    def _check_pooling(
        self, params: PoolingParams, supported_tasks: tuple[str, ...]
    ) -> None:
        tasks = [task for task in supported_tasks if task != "generate"]
        if not tasks:
            raise VLLMValidationError("This model does not support pooling")
        if params.task is None:
            params.task = "token_embed"
        if params.task not in tasks:
            raise VLLMValidationError(
                f"Unsupported task: {params.task!r} Supported tasks: {tasks}"
            )
        params.verify(self.model_config)

    def _check_rank(self, rank: int | None) -> None:
        parallel = self.vllm_config.parallel_config
        ranks = (
            parallel.data_parallel_size_local
            if parallel.local_engines_only
            else parallel.data_parallel_size
        )
        if rank is not None and not 0 <= rank < ranks:
            raise VLLMValidationError(
                f"data_parallel_rank {rank} is out of range [0, {ranks})."
            )

    def _tokenize(self, text: str, options: dict[str, Any] | None) -> list[int]:
        """Cut as vLLM cuts it: at the end, to a length that fits, -1 being all that fits."""
        options = options or {}
        tokens: list[int] = self.get_tokenizer().encode(
            text, add_special_tokens=options.get("add_special_tokens", True)
        )
        length = options.get("truncate_prompt_tokens")
        if length is None:
            return tokens
        most = self.model_config.max_model_len
        if length > most:
            raise VLLMValidationError(
                f"truncate_prompt_tokens={length} cannot be greater than "
                f"max_total_tokens - max_output_tokens = {most}. "
                "Please request a smaller truncation size.",
                parameter="truncate_prompt_tokens",
                value=length,
            )
        return tokens[: most if length < 0 else length]

    def _read_prompt(
        self, prompt: Any, tokenization: dict[str, Any] | None = None
    ) -> tuple[Any, Any, str | None, str | None]:
        """(token ids, embeds, text, cache salt) of any of the prompt forms."""
        if isinstance(prompt, str):
            return self._tokenize(prompt, tokenization), None, prompt, None
        if isinstance(prompt, list):
            return prompt, None, None, None
        if not isinstance(prompt, dict):
            raise TypeError(f"Unexpected prompt type: {type(prompt).__name__}")
        salt = prompt.get("cache_salt")
        text = prompt.get("prompt")
        embeds = prompt.get("prompt_embeds")
        if embeds is not None:
            if not self.model_config.enable_prompt_embeds:
                raise ValueError(
                    "You must set `--enable-prompt-embeds` to input `prompt_embeds`."
                )
            return None, embeds, text, salt
        media = prompt.get("multi_modal_data")
        if media and not self.model_config.is_multimodal_model:
            raise VLLMValidationError(
                f"{self.model_config.model} is not a multimodal model"
            )
        token_ids = prompt.get("prompt_token_ids")
        if media and token_ids is not None:
            token_ids = self._with_media(token_ids, media)
        if token_ids is None:
            if text is None:
                raise TypeError(
                    "Prompt dictionary must contain text, tokens or embeddings"
                )
            token_ids = self._tokenize(text, tokenization)
        if isinstance(token_ids, (str, bytes)):
            raise TypeError(
                f"prompt_token_ids must be a list, got {type(token_ids).__name__}"
            )
        return list(token_ids), None, text, salt

    def _with_media(self, token_ids: list[int], media: dict[str, Any]) -> list[int]:
        """Images take their room in the prompt. What they show changes no answer."""
        if other := sorted(media.keys() - {"image"}):
            raise ValueError(f"At most 0 {other[0]}(s) may be provided in one prompt.")
        counts = images.placeholders(media["image"])
        limit = self.model_config.multimodal_config.get_limit_per_prompt("image")
        if len(counts) > limit:
            raise ValueError(f"At most {limit} image(s) may be provided in one prompt.")
        placeholder = self.model_config.hf_config.image_token_id
        return images.expand(token_ids, placeholder, counts)

    def _check_length(self, length: int, rendered: bool, most_output: int) -> None:
        if length == 0:
            raise VLLMValidationError("The decoder prompt cannot be empty")
        most = self.model_config.max_model_len
        if length > most:
            if not rendered:
                # Raw prompts pass the renderer first, which words it differently.
                raise VLLMValidationError(
                    f"This model's maximum context length is {most} tokens. However, "
                    f"you requested 0 output tokens and your prompt contains {length} "
                    f"input tokens, for a total of {length} tokens. Please reduce the "
                    "length of the input prompt or the number of requested output "
                    "tokens.",
                    parameter="input_tokens",
                    value=length,
                )
            raise VLLMValidationError(
                f"The decoder prompt (length {length}) is longer than the maximum "
                f"model length of {most}. Make sure that `max_model_len` is no smaller "
                "than the number of text tokens."
            )
        if length == most and most_output:
            raise VLLMValidationError(
                f"The decoder prompt (length {length}) plus the number of requested "
                "output tokens (at least 1) is longer than the maximum model length "
                f"of {most}. Make sure that `max_model_len` is no smaller than the "
                "number of text tokens (prompt + requested output tokens)."
            )

    def _check_vocabulary(self, token_ids: list[int]) -> None:
        # No type check, as in vLLM: a float passes here and takes the engine's
        # input thread down.  A host has to refuse it before.
        lowest, highest = min(token_ids), max(token_ids)
        if lowest < 0:
            raise VLLMValidationError(f"Token id {lowest} is out of vocabulary")
        if highest >= self.model_config.get_vocab_size():
            raise VLLMValidationError(f"Token id {highest} is out of vocabulary")

    def _complete(self, params: SamplingParams, length: int) -> SamplingParams:
        """What the engine does not work out itself: limits and stop ids."""
        params = params.clone()
        start = params.routed_experts_prompt_start
        if not 0 <= start <= length:
            raise VLLMValidationError(
                "routed_experts_prompt_start must be between 0 and "
                f"the prompt length ({length}), inclusive.",
                parameter="routed_experts_prompt_start",
                value=start,
            )
        if params.max_tokens is None:
            params.max_tokens = self.model_config.max_model_len - length
            if params.min_tokens > params.max_tokens:
                raise VLLMValidationError(
                    "min_tokens must be less than or equal to "
                    f"max_tokens={params.max_tokens}, got {params.min_tokens}."
                )
        params.update_from_generation_config(
            self.generation_config_fields, self.renderer.get_eos_token_id()
        )
        if self.tokenizer is not None:
            params.update_from_tokenizer(self.tokenizer)
        return params

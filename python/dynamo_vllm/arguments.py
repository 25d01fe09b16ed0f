"""vLLM's own parser, fed with what the host's parser left over."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import sys
from typing import Any

from . import fetch


class UsageError(Exception):
    """The parser refused the arguments. Carries what it printed."""


def _parser() -> Any:
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = FlexibleArgumentParser(prog="dynamo-vllm", add_help=False)
    AsyncEngineArgs.add_cli_args(parser, async_args_only=False)
    return parser


def parse(arguments: list[str]) -> tuple[Any, dict[str, Any], str | None]:
    """Engine arguments, their values as plain data, and the model as it was written: offline vLLM puts its folder in its place."""
    from vllm.engine.arg_utils import AsyncEngineArgs

    # vLLM looks at sys.argv itself (for --config and for flags such as --numa-bind).
    sys.argv = ["dynamo-vllm", *arguments]
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            namespace = _parser().parse_args(arguments)
    except SystemExit as exit_request:
        raise UsageError(printed.getvalue().strip()) from exit_request
    model: str | None = namespace.model
    try:
        engine_args = AsyncEngineArgs.from_cli_args(namespace)
    except Exception as error:
        if not fetch.is_of_library(error):
            raise
        raise fetch.FetchError(fetch.not_cached(model or "", namespace.revision)) from error
    return engine_args, values(engine_args), model


def values(engine_args: Any) -> dict[str, Any]:
    """Each field as JSON can hold it: configuration objects become their fields."""
    names = [field.name for field in dataclasses.fields(engine_args)] if dataclasses.is_dataclass(engine_args) else list(vars(engine_args))
    return {name: _plain(getattr(engine_args, name)) for name in names}


def help_text() -> str:
    """Help of the engine options as one group, which is how the reference prints it."""
    formatter = argparse.RawTextHelpFormatter(prog="dynamo-vllm")
    formatter.start_section("vLLM Engine Options. Please refer to vLLM documentation for more details.")
    formatter.add_arguments([action for action in _parser()._actions if "--help" not in action.option_strings])
    formatter.end_section()
    return formatter.format_help()


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name, None)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    return str(value)

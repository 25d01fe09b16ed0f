"""FlexibleArgumentParser: argparse with vLLM's conveniences.

`--a_b` and `--a-b` are one option, `--config-option.key value` builds JSON,
`--config file.yaml` puts a flat file in front of the command line.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from typing import Any, NoReturn

from vllm.logger import init_logger

logger = init_logger(__name__)

_DECIMAL = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def human_readable_int(text: str) -> int:
    """1k is 1000, 1K is 1024, 25.6k is 25600; fractions of binary units are refused."""
    text = text.strip()
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmMgGtT])", text)
    if match is None:
        return int(text)
    number, unit = match.groups()
    if unit in _DECIMAL:
        return int(round(float(number) * _DECIMAL[unit]))
    try:
        return int(number) * _BINARY[unit]
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            "Decimals are not allowed with binary suffixes like "
            f"{unit}. Did you mean to use {number}{unit.lower()} instead?"
        ) from error


def human_readable_int_or_auto(text: str) -> int:
    """Like human_readable_int; `auto` and -1 both mean: find out."""
    if text.lower() in ("auto", "-1"):
        return -1
    return human_readable_int(text)


class FlexibleArgumentParser(argparse.ArgumentParser):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.pop("add_json_tip", None)
        super().__init__(*args, **kwargs)

    def add_argument(self, *args: Any, **kwargs: Any) -> argparse.Action:
        if sys.version_info < (3, 13):
            kwargs.pop("deprecated", None)
        return super().add_argument(*args, **kwargs)

    def error(self, message: str) -> NoReturn:
        super().error(message)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        given = list(sys.argv[1:] if args is None else args)
        if "--config" in given:
            given = self._with_config_file(given)
        return super().parse_args(_fold_dotted(_normalise(given)), namespace)

    def _with_config_file(self, args: list[str]) -> list[str]:
        """File first, so that the command line wins."""
        if args.count("--config") > 1:
            raise ValueError("More than one config file specified!")
        at = args.index("--config")
        if at == len(args) - 1:
            raise ValueError(
                "No config file specified! Please check your command-line arguments."
            )
        from_file = self.load_config_file(args[at + 1])
        rest = args[:at] + args[at + 2 :]
        if rest and not rest[0].startswith("-"):
            return [rest[0], *from_file, *rest[1:]]
        return [*from_file, *rest]

    def load_config_file(self, file_path: str) -> list[str]:
        if file_path.rsplit(".", 1)[-1] not in ("yaml", "yml"):
            extension = file_path.split(".")[-1]
            raise ValueError(
                f"Config file must be of a yaml/yml type. {extension} supplied"
            )
        with open(file_path, encoding="utf-8") as stream:
            values = read_flat_yaml(stream.read())
        args: list[str] = []
        for key, value in values.items():
            option = f"--{key}"
            if value is True:
                args.append(option)
            elif value is False:
                if f"--no-{key}" in self._option_string_actions:
                    args.append(f"--no-{key}")
            elif isinstance(value, list):
                if value:
                    args += [option, *map(str, value)]
            elif isinstance(value, dict):
                args += [option, json.dumps(value)]
            else:
                args += [option, str(value)]
        return args


def _normalise(args: list[str]) -> list[str]:
    """Dashes for underscores in option names, up to the first dot or equals sign."""
    result = []
    for position, arg in enumerate(args):
        if arg.startswith("--help="):
            result.append("--help")
        elif arg.startswith("--"):
            name, equals, value = arg.partition("=")
            head, dot, tail = name.partition(".")
            result.append(head.replace("_", "-") + dot + tail + equals + value)
        elif arg.startswith("-O") and len(arg) > 2:
            result += ["--optimization-level", arg[2:].lstrip("=")]
        elif arg == "-O" and args[position + 1 : position + 2] in (
            ["0"],
            ["1"],
            ["2"],
            ["3"],
        ):
            result.append("--optimization-level")
        else:
            result.append(arg)
    return result


def _fold_dotted(args: list[str]) -> list[str]:
    """`--x.a 1 --x.b.c=2` becomes `--x '{"a": 1, "b": {"c": 2}}'`."""
    kept: list[str] = []
    objects: dict[str, dict[str, Any]] = {}
    position = 0
    while position < len(args):
        arg = args[position]
        position += 1
        name, equals, text = arg.partition("=")
        if not (arg.startswith("-") and "." in name) or _is_number(name):
            kept.append(arg)
            continue
        if not equals:
            if position == len(args):
                kept.append(arg)  # no value: argparse will complain about it
                continue
            text = args[position]
            position += 1
        if name.endswith("+"):
            name = name[:-1]
            value: Any = text.split(",")
        else:
            value = _parse_value(text)
        option, *path = name.split(".")
        _merge(objects.setdefault(option, {}), path, value)
    for option, value in objects.items():
        kept += [option, json.dumps(value)]
    return kept


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _parse_value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return human_readable_int(text)
    except (ValueError, argparse.ArgumentTypeError):
        return text


def _merge(target: dict[str, Any], path: list[str], value: Any) -> None:
    for key in path[:-1]:
        inner = target.get(key)
        if not isinstance(inner, dict):
            inner = target[key] = {}
        target = inner
    last = path[-1]
    held = target.get(last)
    if isinstance(held, list) and isinstance(value, list):
        target[last] = held + value
    elif isinstance(held, dict) and isinstance(value, dict):
        held.update(value)
    else:
        if last in target:
            logger.warning("Found duplicate keys %s", ".".join(path))
        target[last] = value


# -- a little YAML -------------------------------------------------------


def read_flat_yaml(text: str) -> dict[str, Any]:
    """`key: value` lines, values being scalars, JSON-like flows, or `- item` lists."""
    values: dict[str, Any] = {}
    open_list: list[Any] | None = None
    key = ""
    for number, raw in enumerate(text.splitlines(), 1):
        line = _without_comment(raw).rstrip()
        if not line.strip() or line.strip() in ("---", "..."):
            continue
        stripped = line.strip()
        if stripped.startswith("- ") and key and (open_list is not None):
            open_list.append(_scalar(stripped[2:].strip()))
            continue
        if line[0] in " \t":
            raise ValueError(
                f"line {number}: nested mappings are not read by the simulation; "
                "write the value as JSON"
            )
        key, separator, rest = line.partition(":")
        if not separator or (rest and rest[0] not in " \t"):
            raise ValueError(f"line {number}: expected 'key: value'")
        key, rest = key.strip().strip("\"'"), rest.strip()
        if rest:
            values[key], open_list = _scalar(rest), None
        else:
            open_list = values[key] = []
    return values


def _without_comment(line: str) -> str:
    quote = ""
    for position, character in enumerate(line):
        if quote:
            if character == quote:
                quote = ""
        elif character in "\"'":
            quote = character
        elif character == "#" and (position == 0 or line[position - 1] in " \t"):
            return line[:position]
    return line


def _scalar(text: str) -> Any:
    if text[:1] in "{[":
        return json.loads(text)
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        return json.loads(text) if text[0] == '"' else text[1:-1].replace("''", "'")
    lowered = text.lower()
    if lowered in ("true", "yes", "on"):
        return True
    if lowered in ("false", "no", "off"):
        return False
    return text

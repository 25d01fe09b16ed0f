"""A tokenizer that knows the vocabulary of a tokenizer.json, if there is one.

The front end's tokenizer does the real work in a deployment; the engine needs
texts of single tokens (logprobs), stop strings and choices.  Without a
tokenizer.json the first 256 plain ids are bytes and the rest are made-up words.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any, Iterable

_FIRST_BYTE_ID = 3
_BYTE_TOKEN = re.compile(r"^<0x([0-9A-Fa-f]{2})>$")


def _byte_level_alphabet() -> dict[str, int]:
    """The printable stand-ins that byte-level BPE vocabularies use for bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    alphabet = {chr(byte): byte for byte in printable}
    spare = 256
    for byte in range(256):
        if byte not in printable:
            alphabet[chr(spare)] = byte
            spare += 1
    return alphabet


class SimulatedTokenizer:
    """decode and encode by vocabulary look-up; encode is greedy longest match."""

    def __init__(
        self,
        vocab_size: int,
        bos_token_id: int | None,
        eos_token_id: int | None,
        model_dir: str | None = None,
    ) -> None:
        self.vocab_size = vocab_size
        self.bos_token_id = bos_token_id
        self.eos_token_id = eos_token_id
        self.all_special_ids: list[int] = sorted(
            {i for i in (0, bos_token_id, eos_token_id) if i is not None}
        )
        self._pieces: dict[int, bytes] = {}
        self._ids: dict[bytes, int] = {}
        path = os.path.join(model_dir, "tokenizer.json") if model_dir else ""
        if path and os.path.isfile(path):
            self._load(path)
        else:
            self._make_up()
        self._longest = max(map(len, self._ids), default=1)

    @property
    def max_token_id(self) -> int:
        return self.vocab_size - 1

    def __len__(self) -> int:
        return self.vocab_size

    def _make_up(self) -> None:
        for byte in range(256):
            token = _FIRST_BYTE_ID + byte
            if token < self.vocab_size:
                self._pieces[token] = bytes((byte,))
                self._ids[bytes((byte,))] = token
        for token in range(_FIRST_BYTE_ID + 256, self.vocab_size):
            self._pieces[token] = b" w%d" % token

    def _load(self, path: str) -> None:
        with open(path, encoding="utf-8") as stream:
            document = json.load(stream)
        vocab = (document.get("model") or {}).get("vocab") or {}
        entries: Iterable[tuple[str, int]]
        if isinstance(vocab, dict):
            entries = vocab.items()
        else:
            entries = ((item[0], index) for index, item in enumerate(vocab))
        alphabet = _byte_level_alphabet() if _is_byte_level(document) else None
        for piece, token in entries:
            raw = _piece_bytes(piece, alphabet)
            self._pieces[token] = raw
            self._ids.setdefault(raw, token)
        special = set(self.all_special_ids) - {0}
        for added in document.get("added_tokens") or ():
            self._pieces[added["id"]] = added["content"].encode()
            if added.get("special"):
                special.add(added["id"])
        self.all_special_ids = sorted(special)

    def decode(
        self, token_ids: int | Iterable[int], skip_special_tokens: bool = False
    ) -> str:
        if isinstance(token_ids, int):
            token_ids = (token_ids,)
        hidden = self.all_special_ids if skip_special_tokens else ()
        raw = b"".join(
            self._pieces.get(token, b"") for token in token_ids if token not in hidden
        )
        return raw.decode("utf-8", "replace")

    def convert_ids_to_tokens(self, token_ids: Iterable[int]) -> list[str]:
        return [self.decode(token) for token in token_ids]

    def apply_chat_template(
        self,
        messages: list[dict[str, Any]],
        tokenize: bool = True,
        add_generation_prompt: bool = False,
        **_: Any,
    ) -> str | list[int]:
        """What the model's chat_template.jinja says, without a template engine."""
        turns = [
            f"<|im_start|>{message['role']}\n{message['content']}<|im_end|>\n"
            for message in messages
        ]
        text = "".join(turns) + (
            "<|im_start|>assistant\n" if add_generation_prompt else ""
        )
        return self.encode(text) if tokenize else text

    def encode(self, text: str, add_special_tokens: bool = True, **_: Any) -> list[int]:
        raw = text.encode()
        ids: list[int] = []
        if add_special_tokens and self.bos_token_id is not None:
            ids.append(self.bos_token_id)
        start = 0
        while start < len(raw):
            for end in range(min(len(raw), start + self._longest), start, -1):
                token = self._ids.get(raw[start:end])
                if token is not None:
                    ids.append(token)
                    start = end
                    break
            else:
                start += 1  # no token for this byte: leave it out
        return ids


def _is_byte_level(document: dict[str, Any]) -> bool:
    for part in ("decoder", "pre_tokenizer"):
        node = document.get(part) or {}
        nodes = [node, *node.get("decoders", ()), *node.get("pretokenizers", ())]
        if any(item.get("type") == "ByteLevel" for item in nodes):
            return True
    return False


def _piece_bytes(piece: str, alphabet: dict[str, int] | None) -> bytes:
    if alphabet is not None:
        if all(character in alphabet for character in piece):
            return bytes(alphabet[character] for character in piece)
        return piece.encode()
    match = _BYTE_TOKEN.match(piece)
    if match:
        return bytes((int(match.group(1), 16),))
    return piece.replace("\u2581", " ").encode()

"""Embeddings of images from an encode worker to the worker that prefills: through files of one host, or through NIXL.

With NIXL the encode worker offers a tensor under a number; the other side answers, in a notification, with a place in its memory that it
registered at its start; the encode worker writes there and says so in a notification. The words are the reference's, so that either side
may be one of its workers. What the reference leaves open is bounded here: an offer that nobody takes up is withdrawn, and a place that a
writer may still write to is not used for anything else.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import logging
import math
import os
import tempfile
import uuid
from typing import Any, Callable, NamedTuple, Protocol

from .regions import Regions

_LOGGER = logging.getLogger("dynamo_vllm.transfers")

LOCAL, NIXL_WRITE = "local", "nixl-write"

#: Seconds that an offer stands, and that a receiver waits for its tensor: as long as the reference's receiver waits.
LIMIT = 60.0

#: Seconds after which nobody writes any more to the place of a transfer that did not end.
_QUARANTINE = 600.0

#: Seconds between two looks for notifications, while any is awaited: NIXL wakes nobody. The reference's.
_LOOK = 0.001

#: Offers that stand at a time. Each holds the embeddings of one image, some megabytes.
OFFERS_MAX = 1024

#: Bytes in which embeddings of images arrive, and so the limit of one request: two gigabytes. Memory of the system, touched when used.
ROOM = 2 << 30

#: Peers that are remembered. A worker that comes back has a new name.
_PEERS_MAX = 64

_FILE_PREFIX, _FILE_SUFFIX, _FILE_TENSOR = "encoder_cache.", ".safetensors", "ec_cache"

_TYPES = ("float32", "float16", "bfloat16")


class TransferError(Exception):
    """Embeddings do not arrive. No fault of the client, nor of the engine."""

    http_status = 503


class Offer(NamedTuple):
    """What the other side is told of a tensor: the reference's `TransferRequest`."""

    shape: list[int]
    type: str
    ticket: Any

    def to_json(self) -> dict[str, Any]:
        """For the wire."""
        return {"embeddings_shape": self.shape, "embedding_dtype_str": self.type, "serialized_request": self.ticket}

    @classmethod
    def read(cls, value: Any) -> "Offer":
        """What another worker wrote. Raises TransferError."""
        shape = value.get("embeddings_shape") if isinstance(value, dict) else None
        if not isinstance(shape, list) or not 2 <= len(shape) <= 4 or not all(type(one) is int and 0 < one <= ROOM for one in shape):
            raise TransferError(f"the encode worker offers embeddings of the shape {str(shape)[:100]}")
        kind = str(value.get("embedding_dtype_str")).removeprefix("torch.")
        if kind not in _TYPES:
            raise TransferError(f"the encode worker offers embeddings of the type {kind[:50]}, none of {', '.join(_TYPES)}")
        offer = cls(shape, kind, value.get("serialized_request"))
        if offer.size > ROOM:
            raise TransferError(f"the encode worker offers embeddings of {offer.size} bytes, above the limit {ROOM}")
        return offer

    @property
    def size(self) -> int:
        """In bytes."""
        return math.prod(self.shape) * (4 if self.type == "float32" else 2)


class Sender(Protocol):
    """The side of an encode worker. Used on the event loop's thread only."""

    async def offer(self, tensor: Any) -> Offer:
        """Keeps the tensor until it was taken, or for a while."""

    def close(self) -> None:
        """Withdraws what is left."""


class Receiver(Protocol):
    """The side of a worker that prefills. Used on the event loop's thread only."""

    async def receive(self, offers: list[Offer]) -> list[Any]:
        """The tensors, which nobody else holds. Raises TransferError."""


def sender(mode: str) -> Sender:
    """For a mode of the reference's `--embedding-transfer-mode`."""
    if mode == LOCAL:
        return FileSender()
    return NixlSender()


def receiver(mode: str) -> Receiver:
    """Of the same mode as the encode workers'."""
    if mode == LOCAL:
        return FileReceiver()
    return NixlReceiver()


class FileSender:
    """A file for each tensor in the folder for temporary ones, which both workers see. Its reader removes it."""

    def __init__(self) -> None:
        self._id = uuid.uuid4().hex
        self._numbers = itertools.count()
        self._files: set[str] = set()

    async def offer(self, tensor: Any) -> Offer:
        """The file is removed after a while if nobody has read it."""
        path = await asyncio.to_thread(self._write, tensor, next(self._numbers))
        self._files.add(path)
        asyncio.get_running_loop().call_later(LIMIT, self._withdraw, path)
        return Offer(list(tensor.shape), _type_of(tensor), path)

    def close(self) -> None:
        """Removes what nobody has read."""
        for path in list(self._files):
            self._withdraw(path)

    def _write(self, tensor: Any, number: int) -> str:
        from safetensors.torch import save_file

        descriptor, path = tempfile.mkstemp(prefix=f"{_FILE_PREFIX}{self._id}_{number}.", suffix=_FILE_SUFFIX)
        os.close(descriptor)
        try:
            save_file({_FILE_TENSOR: tensor.detach().cpu().contiguous()}, path)
        except BaseException:
            _remove(path)
            raise
        return path

    def _withdraw(self, path: str) -> None:
        if path in self._files:
            self._files.discard(path)
            _remove(path)


class FileReceiver:
    """Reads the files of encode workers on this host, and removes them."""

    async def receive(self, offers: list[Offer]) -> list[Any]:
        """In their order."""
        return [await asyncio.to_thread(self._read, offer) for offer in offers]

    def _read(self, offer: Offer) -> Any:
        path = str(offer.ticket)
        folder, name = os.path.split(os.path.realpath(path))
        if folder != os.path.realpath(tempfile.gettempdir()) or not name.startswith(_FILE_PREFIX) or not name.endswith(_FILE_SUFFIX):
            raise TransferError(f"the encode worker names {path[:200]}, which is no file of embeddings in {tempfile.gettempdir()}")
        from safetensors.torch import load_file

        try:
            tensor = load_file(path)[_FILE_TENSOR]
        except Exception as error:  # noqa: BLE001 - boundary mapping: the library raises errors of its own
            raise TransferError(f"the embeddings in {path} cannot be read: {error}") from error
        finally:
            _remove(path)
        if list(tensor.shape) != offer.shape or _type_of(tensor) != offer.type:
            raise TransferError(f"the embeddings in {path} are of the shape {list(tensor.shape)}, not {offer.shape}")
        return tensor


class _Agent:
    """NIXL's, with its peers, and a look for notifications as long as any is awaited."""

    def __init__(self, role: str) -> None:
        try:
            from nixl._api import nixl_agent, nixl_agent_config
        except ImportError as error:
            raise RuntimeError(f"--embedding-transfer-mode nixl-write needs NIXL, and this Python has none: {error}") from error
        self.name = f"{role}_{uuid.uuid4()}"
        self.nixl: Any = nixl_agent(self.name, nixl_agent_config())
        self._peers: dict[str, None] = {}

    def meet(self, name: str, metadata: bytes) -> None:
        """Before anything is sent to a peer. What comes of old ones is the peer's memory, and theirs is gone."""
        if name in self._peers:
            return
        if not metadata:
            raise TransferError(f"the NIXL agent {name} is not known and does not say where it is")
        while len(self._peers) >= _PEERS_MAX:
            oldest = next(iter(self._peers))
            del self._peers[oldest]
            self.nixl.remove_remote_agent(oldest)
        self.nixl.add_remote_agent(metadata)
        self._peers[name] = None

    def read(self, take: Callable[[str, bytes], None]) -> None:
        """Hands on each notification that has come, with the name of its peer."""
        try:
            for peer, notes in self.nixl.get_new_notifs().items():
                for note in notes:
                    take(peer, note)
        except Exception:  # noqa: BLE001 - boundary mapping: other offers stand all the same, and those who wait have a limit of their own
            _LOGGER.exception("notifications of NIXL cannot be read")


class _Standing:
    """An offer of a tensor while it stands."""

    __slots__ = ("tensor", "until", "handle")

    def __init__(self, tensor: Any, until: float) -> None:
        self.tensor = tensor
        self.until = until
        self.handle: Any = None


class NixlSender:
    """Offers tensors, and writes each to the place that it is asked for."""

    def __init__(self) -> None:
        self._agent = _Agent("sender")
        self._metadata = base64.b64encode(self._agent.nixl.get_agent_metadata()).decode()
        self._numbers = itertools.count()
        self._standing: dict[int, _Standing] = {}
        #: Of each piece of memory its registration, and for how many offers: one that is cached may stand several times.
        self._registered: dict[tuple[int, int], tuple[Any, int]] = {}
        self._look: asyncio.Task[None] | None = None

    @property
    def standing(self) -> int:
        """Offers that nobody has taken yet."""
        return len(self._standing)

    async def offer(self, tensor: Any) -> Offer:
        """Withdrawn after a while if nobody has taken it."""
        if len(self._standing) >= OFFERS_MAX:
            raise TransferError(f"{OFFERS_MAX} images are encoded and nobody has taken them, the limit of this worker")
        key = _place(tensor)
        registration, count = self._registered.get(key, (None, 0))
        if registration is None:
            registration = self._agent.nixl.register_memory(tensor)
        self._registered[key] = (registration, count + 1)
        number = next(self._numbers)
        self._standing[number] = _Standing(tensor, asyncio.get_running_loop().time() + LIMIT)
        if self._look is None or self._look.done():
            self._look = asyncio.get_running_loop().create_task(self._run())
        ticket = {
            "sender_agent_id": self._agent.name,
            "agent_metadata": self._metadata,
            "tensor_id": number,
            "tensor_size": tensor.nbytes,
        }
        return Offer(list(tensor.shape), _type_of(tensor), json.dumps(ticket))

    def close(self) -> None:
        """Withdraws what is left."""
        if self._look is not None:
            self._look.cancel()
        for number in list(self._standing):
            self._end(number)

    async def _run(self) -> None:
        """As long as an offer stands."""
        while self._standing:
            self._agent.read(self._begin)
            self._look_after(asyncio.get_running_loop().time())
            await asyncio.sleep(_LOOK)

    def _begin(self, peer: str, note: bytes) -> None:
        """A receiver names the place for a tensor."""
        from msgspec import msgpack

        number = None
        try:
            number, (address, size, device, memory), done, metadata = msgpack.decode(note)
            standing = self._standing.get(number)
            if standing is None or standing.handle is not None or size != standing.tensor.nbytes:
                _LOGGER.warning("%s asks for embeddings %s of %s bytes, which are not offered", peer, number, size)
                return
            self._agent.meet(peer, metadata)
            nixl = self._agent.nixl
            target = nixl.get_xfer_descs([(address, size, device)], mem_type=memory)
            signal = str(done).encode()
            standing.handle = nixl.initialize_xfer("WRITE", nixl.get_xfer_descs(standing.tensor), target, peer, signal)
            nixl.transfer(standing.handle, signal)
        except Exception:  # noqa: BLE001 - boundary mapping: a peer that cannot be written to
            _LOGGER.exception("embeddings cannot be written to %s", peer)
            if number in self._standing:
                self._end(number)

    def _look_after(self, now: float) -> None:
        for number, standing in list(self._standing.items()):
            state = "PROC" if standing.handle is None else self._state(standing)
            if state == "ERR":
                _LOGGER.error("embeddings %d were not written: their receiver is gone, or NIXL failed", number)
            if state != "PROC":
                self._end(number)
            elif now >= standing.until:
                _LOGGER.warning("embeddings %d are withdrawn: nobody took them within %d s", number, LIMIT)
                self._end(number)

    def _state(self, standing: _Standing) -> str:
        try:
            return str(self._agent.nixl.check_xfer_state(standing.handle))
        except Exception:  # noqa: BLE001 - boundary mapping: the library raises when the peer is gone
            return "ERR"

    def _end(self, number: int) -> None:
        standing = self._standing.pop(number)
        if standing.handle is not None:
            try:
                self._agent.nixl.release_xfer_handle(standing.handle)
            except Exception:  # noqa: BLE001 - boundary mapping: a transfer that cannot be stopped is NIXL's to end
                _LOGGER.warning("a transfer of NIXL cannot be released", exc_info=True)
        key = _place(standing.tensor)
        registration, count = self._registered.pop(key)
        if count > 1:
            self._registered[key] = (registration, count - 1)
        else:
            self._agent.nixl.deregister_memory(registration)


class _Awaited(NamedTuple):
    """A tensor on its way."""

    peer: str
    start: int
    arrived: "asyncio.Future[None]"


class NixlReceiver:
    """Has tensors written into memory that is registered once, since senders learn of it when they first hear of this agent."""

    def __init__(self, room: int = ROOM) -> None:
        import torch

        self._agent = _Agent("receiver")
        self._memory = torch.empty(room, dtype=torch.uint8)
        self._registration = self._agent.nixl.register_memory(self._memory)
        self._metadata: bytes = self._agent.nixl.get_agent_metadata()
        self._room = Regions(room)
        self._numbers = itertools.count()
        self._awaited: dict[int, _Awaited] = {}
        self._look: asyncio.Task[None] | None = None

    @property
    def awaited(self) -> int:
        """Tensors on their way."""
        return len(self._awaited)

    @property
    def places(self) -> int:
        """Pieces of the room that are in use."""
        return self._room.taken

    async def receive(self, offers: list[Offer]) -> list[Any]:
        """All of a request at once: half of them would wait for the room that another request's half takes."""
        starts = await self._take_room([offer.size for offer in offers])
        numbers: list[int] = []
        asked = 0  # whose places are somebody's already
        try:
            for offer, start in zip(offers, starts):
                asked += 1
                numbers.append(self._ask(offer, start))
            await asyncio.wait_for(asyncio.gather(*(self._awaited[number].arrived for number in numbers)), LIMIT)
            return [self._copy(offer, start) for offer, start in zip(offers, starts)]
        except TimeoutError:
            raise TransferError(f"embeddings of the encode worker did not arrive within {LIMIT:.0f} s") from None
        finally:
            for number in numbers:
                self._forget(number)
            for start in starts[asked:]:
                self._room.give_back(start)

    async def _take_room(self, sizes: list[int]) -> list[int]:
        loop = asyncio.get_running_loop()
        until = loop.time() + LIMIT
        while True:
            starts: list[int] = []
            for size in sizes:
                start = self._room.take(size)
                if start is None:
                    break
                starts.append(start)
            if len(starts) == len(sizes):
                return starts
            for start in starts:
                self._room.give_back(start)
            if loop.time() >= until:
                raise TransferError(f"there was no room for {sum(sizes)} bytes of embeddings within {LIMIT:.0f} s, of {self._room.size}")
            await asyncio.sleep(5 * _LOOK)

    def _ask(self, offer: Offer, start: int) -> int:
        from msgspec import msgpack

        number = next(self._numbers)
        try:
            ticket = json.loads(offer.ticket)
            peer, tensor, size = str(ticket["sender_agent_id"]), ticket["tensor_id"], ticket["tensor_size"]
            if size != offer.size:
                raise TransferError(f"the encode worker offers {size} bytes for embeddings of {offer.size}")
            self._agent.meet(peer, base64.b64decode(ticket["agent_metadata"] or ""))
            place = (self._memory.data_ptr() + start, size, 0, "cpu")
            self._awaited[number] = _Awaited(peer, start, asyncio.get_running_loop().create_future())
            self._agent.nixl.send_notif(peer, notif_msg=msgpack.encode((tensor, place, number, self._metadata)))
        except Exception as error:
            self._awaited.pop(number, None)
            self._room.give_back(start)  # nobody has heard of it
            if isinstance(error, TransferError):
                raise
            raise TransferError(f"the encode worker cannot be asked for its embeddings: {error}") from error
        if self._look is None or self._look.done():
            self._look = asyncio.get_running_loop().create_task(self._run())
        return number

    async def _run(self) -> None:
        while self._awaited:
            self._agent.read(self._notice)
            await asyncio.sleep(_LOOK)

    def _notice(self, peer: str, note: bytes) -> None:
        awaited = self._awaited.get(int(note)) if note.isdigit() else None
        if awaited is not None and awaited.peer == peer and not awaited.arrived.done():
            awaited.arrived.set_result(None)

    def _copy(self, offer: Offer, start: int) -> Any:
        import torch

        piece = self._memory[start : start + offer.size]
        return piece.view(getattr(torch, offer.type)).view(offer.shape).clone()

    def _forget(self, number: int) -> None:
        awaited = self._awaited.pop(number)
        if awaited.arrived.done() and not awaited.arrived.cancelled():
            self._room.give_back(awaited.start)
        else:
            # Its sender may still write there.
            asyncio.get_running_loop().call_later(_QUARANTINE, self._room.give_back, awaited.start)


def _type_of(tensor: Any) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _place(tensor: Any) -> tuple[int, int]:
    return tensor.data_ptr(), tensor.get_device()


def _remove(path: str) -> None:
    try:
        os.remove(path)
    except FileNotFoundError:
        pass  # by its reader, or by its writer after a while

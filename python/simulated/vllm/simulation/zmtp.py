"""A ZeroMQ PUB socket in the standard library: ZMTP 3.0, NULL mechanism.

Enough for SUB peers of any libzmq: greeting, READY, subscriptions in both the
message form (3.0) and the command form (3.1), heartbeats answered, a bounded
queue per subscriber that drops whole messages, like a PUB does.

One thread owns all sockets; `send` only appends to a deque and wakes it.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import threading
import time
from collections import deque
from typing import Callable, Deque

GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
_GREETING_SIZE = 64
_MORE, _LONG, _COMMAND = 1, 2, 4
_RECONNECT_S = 0.1


def encode_frame(body: bytes, flags: int = 0) -> bytes:
    size = len(body)
    if size < 256:
        return bytes((flags, size)) + body
    return bytes((flags | _LONG,)) + size.to_bytes(8, "big") + body


def encode_ready(socket_type: bytes) -> bytes:
    name = b"Socket-Type"
    body = b"\x05READY" + bytes((len(name),)) + name
    body += len(socket_type).to_bytes(4, "big") + socket_type
    return encode_frame(body, _COMMAND)


class FrameParser:
    """Greeting, then frames, out of a byte stream."""

    def __init__(self, greeted: bool = False) -> None:
        self._buffer = bytearray()
        self._greeted = greeted

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Complete (flags, body) frames; ValueError if the peer is no ZMTP 3."""
        buffer = self._buffer
        buffer += data
        if not self._greeted:
            if len(buffer) < _GREETING_SIZE:
                return []
            if buffer[0] != 0xFF or buffer[9] != 0x7F or buffer[10] < 3:
                raise ValueError("not a ZMTP 3 peer")
            if bytes(buffer[12:32]).rstrip(b"\0") != b"NULL":
                raise ValueError("only the NULL mechanism is spoken here")
            del buffer[:_GREETING_SIZE]
            self._greeted = True
        frames = []
        while len(buffer) >= 2:
            flags = buffer[0]
            if flags & _LONG:
                if len(buffer) < 9:
                    break
                start, size = 9, int.from_bytes(buffer[1:9], "big")
            else:
                start, size = 2, buffer[1]
            if len(buffer) < start + size:
                break
            frames.append((flags, bytes(buffer[start : start + size])))
            del buffer[: start + size]
        return frames


class _Peer:
    """One subscriber."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.parser = FrameParser()
        self.subscriptions: list[bytes] = []
        self.queue: Deque[bytes] = deque([GREETING, encode_ready(b"PUB")])
        self.sent = 0  # bytes of queue[0] already written

    def wants(self, topic: bytes) -> bool:
        return any(topic.startswith(prefix) for prefix in self.subscriptions)

    def handle(self, data: bytes) -> None:
        for flags, body in self.parser.feed(data):
            if not flags & _COMMAND:
                self._subscribe(body[:1] == b"\x01", body[1:])
                continue
            name = body[1 : 1 + body[0]]
            rest = body[1 + body[0] :]
            if name == b"SUBSCRIBE":
                self._subscribe(True, rest)
            elif name == b"CANCEL":
                self._subscribe(False, rest)
            elif name == b"PING":
                self.queue.append(encode_frame(b"\x04PONG" + rest[2:], _COMMAND))

    def _subscribe(self, on: bool, topic: bytes) -> None:
        if on:
            self.subscriptions.append(topic)
        elif topic in self.subscriptions:
            self.subscriptions.remove(topic)

    def flush(self) -> None:
        while self.queue:
            message = self.queue[0]
            try:
                written = self.connection.send(memoryview(message)[self.sent :])
            except BlockingIOError:
                return
            self.sent += written
            if self.sent < len(message):
                return
            self.queue.popleft()
            self.sent = 0


def should_bind(endpoint: str) -> bool:
    """The publisher's rule: a wildcard or a local path binds, an address connects."""
    return "*" in endpoint or "::" in endpoint or endpoint.startswith("ipc://")


def parse_endpoint(endpoint: str) -> tuple[int, tuple[str, int] | str]:
    scheme, separator, rest = endpoint.partition("://")
    if not separator:
        raise ValueError(f"no scheme in endpoint {endpoint!r}")
    if scheme == "ipc":
        return socket.AF_UNIX, "\0" + rest[1:] if rest.startswith("@") else rest
    if scheme != "tcp":
        raise ValueError(f"unsupported transport {scheme!r}")
    host, _, port = rest.rpartition(":")
    host = host.strip("[]")
    if host == "*":
        host = "0.0.0.0"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return family, (host, 0 if port == "*" else int(port))


class Publisher:
    """PUB socket with its own thread."""

    def __init__(self, endpoint: str, hwm: int = 100_000) -> None:
        self._hwm = hwm
        self._outgoing: Deque[Callable[[], tuple[bytes, bytes, bytes]]] = deque()
        self._peers: dict[int, _Peer] = {}
        self._selector = selectors.DefaultSelector()
        self._wake_receive, self._wake_send = socket.socketpair()
        self._wake_receive.setblocking(False)
        self._wake_send.setblocking(False)
        self._selector.register(self._wake_receive, selectors.EVENT_READ)
        self._listener: socket.socket | None = None
        self._target: tuple[int, tuple[str, int] | str] | None = None
        self._retry_at = 0.0
        self._closing = False
        self._path: str | None = None
        self.port = 0
        family, address = parse_endpoint(endpoint)
        if should_bind(endpoint):
            self._listen(family, address)
        else:
            self._target = (family, address)
        self._thread = threading.Thread(target=self._run, name="zmtp-pub", daemon=True)
        self._thread.start()

    def _listen(self, family: int, address: tuple[str, int] | str) -> None:
        listener = socket.socket(family, socket.SOCK_STREAM)
        if family == socket.AF_UNIX:
            if isinstance(address, str) and not address.startswith("\0"):
                if os.path.exists(address):
                    os.unlink(address)
                self._path = address
        else:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen(64)
        except OSError:
            listener.close()
            raise
        listener.setblocking(False)
        if family != socket.AF_UNIX:
            self.port = listener.getsockname()[1]
        self._listener = listener
        self._selector.register(listener, selectors.EVENT_READ)

    def send(self, make: Callable[[], tuple[bytes, bytes, bytes]]) -> None:
        """Queue a message; `make` encodes it on the publisher's thread."""
        if len(self._outgoing) >= self._hwm:
            return
        self._outgoing.append(make)
        self._wake()

    def close(self, linger_s: float = 1.0) -> None:
        self._closing = True
        self._wake()
        self._thread.join(linger_s)

    def _wake(self) -> None:
        try:
            self._wake_send.send(b"\0")
        except OSError:
            pass  # already awake, or gone

    # -- thread ----------------------------------------------------------

    def _run(self) -> None:
        while True:
            if self._target is not None and not self._peers:
                self._connect()
            waiting = self._target is not None and not self._peers
            for key, mask in self._selector.select(_RECONNECT_S if waiting else None):
                if key.fileobj is self._wake_receive:
                    self._drain_wake()
                elif key.fileobj is self._listener:
                    self._accept()
                else:
                    self._serve(key.data, mask)
            while self._outgoing:
                self._distribute(self._outgoing.popleft()())
            if self._closing:
                self._shut()
                return

    def _drain_wake(self) -> None:
        try:
            while self._wake_receive.recv(4096):
                pass
        except BlockingIOError:
            pass

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        self._adopt(connection)

    def _connect(self) -> None:
        now = time.monotonic()
        if now < self._retry_at or self._target is None:
            return
        self._retry_at = now + _RECONNECT_S
        family, address = self._target
        connection = socket.socket(family, socket.SOCK_STREAM)
        connection.settimeout(_RECONNECT_S)
        if connection.connect_ex(address) not in (0, errno.EISCONN):
            connection.close()
            return
        self._adopt(connection)

    def _adopt(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        if connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer = _Peer(connection)
        self._peers[connection.fileno()] = peer
        self._selector.register(connection, selectors.EVENT_READ, peer)
        self._flush(peer)

    def _serve(self, peer: _Peer, mask: int) -> None:
        if mask & selectors.EVENT_READ:
            try:
                data = peer.connection.recv(65536)
                if not data:
                    raise ConnectionResetError
                peer.handle(data)
            except BlockingIOError:
                pass
            except (OSError, ValueError, IndexError):
                self._drop(peer)
                return
        self._flush(peer)

    def _distribute(self, message: tuple[bytes, bytes, bytes]) -> None:
        topic, sequence, payload = message
        encoded: bytes | None = None
        for peer in list(self._peers.values()):
            if not peer.wants(topic) or len(peer.queue) >= self._hwm:
                continue
            if encoded is None:
                encoded = (
                    encode_frame(topic, _MORE)
                    + encode_frame(sequence, _MORE)
                    + encode_frame(payload)
                )
            peer.queue.append(encoded)
            self._flush(peer)

    def _flush(self, peer: _Peer) -> None:
        try:
            peer.flush()
            events = selectors.EVENT_READ
            if peer.queue:
                events |= selectors.EVENT_WRITE
            self._selector.modify(peer.connection, events, peer)
        except (OSError, KeyError, ValueError):
            self._drop(peer)

    def _drop(self, peer: _Peer) -> None:
        fileno = peer.connection.fileno()
        if self._peers.get(fileno) is peer:
            del self._peers[fileno]
            self._selector.unregister(peer.connection)
        peer.connection.close()

    def _shut(self) -> None:
        for peer in list(self._peers.values()):
            self._drop(peer)
        if self._listener is not None:
            self._listener.close()
        self._selector.close()
        self._wake_receive.close()
        self._wake_send.close()
        if self._path is not None:
            try:
                os.unlink(self._path)
            except OSError:
                pass

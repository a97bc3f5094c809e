"""A socket-like object over buffers, for a library that wants to read and write by itself."""

from __future__ import annotations

import asyncio


class BufferSocket:
    """What paho takes for its socket: reads the packet that it is given, writes to what will leave together."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.ended = False
        self.sent_bytes = 0
        self._packet = b""
        self._position = 0
        self._outgoing: list[bytes | bytearray] = []
        self._transport = transport

    def give(self, packet: bytes) -> None:
        self._packet, self._position = packet, 0

    @property
    def readable(self) -> bool:
        return self._position < len(self._packet)

    def recv(self, size: int) -> bytes:
        if not self.readable and not self.ended:
            raise BlockingIOError
        data = self._packet[self._position : self._position + size]
        self._position += len(data)
        return data

    def send(self, data: bytes | bytearray) -> int:
        self._outgoing.append(data)
        self.sent_bytes += len(data)
        return len(data)

    def flush(self) -> None:
        if self._outgoing and not self._transport.is_closing():
            # An image is one packet, mostly alone: joining would copy it.
            data = self._outgoing[0] if len(self._outgoing) == 1 else b"".join(self._outgoing)
            self._transport.write(data)
        self._outgoing.clear()

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def fileno(self) -> int:
        return -1

    def setblocking(self, flag: bool) -> None:
        """Never blocks."""

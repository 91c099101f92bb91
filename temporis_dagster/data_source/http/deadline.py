"""Deadline: how long an attempt may last, and why no byte of it leaves later.

Comes in: when an attempt begins, and the streams that httpcore opens for it. Goes out: streams that keep the deadline.
Never: chooses a timeout, or retries.

The promise, on which the leases of a mirror rest: **from ``longest_attempt_s(...)`` after an attempt began, no byte of
its request is handed to the operating system, and what the operating system still holds is discarded.** The argument:

1. Every byte of a request is written by ``write`` of a stream that was opened by ``connect_tcp`` or ``start_tls``.
   httpcore reports both (``OPENED``) to the trace before it uses the stream, and then uses that very stream, whose
   ``write`` is by then ``_Watched.write``: the client's trace passes it to ``watch``. A pooled connection was opened by
   an earlier attempt, so its stream is already watched.
2. ``_Watched.write`` checks the deadline before each ``send``, and gives the socket the remaining time as its timeout.
   One ``send`` returns or fails within that time: it never waits a second time after it has taken bytes. (httpcore's
   own loop gives each ``send`` the whole timeout again, so an attempt lasted as long as a slow line needed.) Where TLS
   runs inside TLS, for an https proxy, there is no such socket, and httpcore gets one TLS record at a time.
3. Looking up a name, connecting and TLS handshakes are not bounded as a whole (the resolver takes its own time, and
   each address of a host has its own timeout), but they carry no byte of the request, and the first write after them
   checks the deadline. So an attempt may *return* late, but it sends nothing late.
4. An attempt that ran out of time closes its connection with SO_LINGER 0. After an ordinary ``close``, the operating
   system would go on sending what is in its buffer, for minutes on a slow line.

What remains is what is already on the wire, and what a proxy or the service holds: the mirror's window for late writes
covers that. A process that is suspended between the check and the ``send``, for longer than a lease, cannot be caught.
"""

from __future__ import annotations

import math
import os
import socket
import ssl
import struct
import threading
import time
from contextlib import suppress
from typing import Any

import httpcore
import httpx

SLOWEST_BYTES_PER_S = 50_000
"""The slowest line that still counts as alive: a body gets the time it takes there, on top of the timeout."""

RECORD_BYTES = 16_384
"""The maximum size of a TLS record."""

OPENED = (".connect_tcp.complete", ".start_tls.complete")
"""How the names end of the events of httpcore that bring a new stream."""

ABORT = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)


def longest_attempt_s(body_bytes: int, timeout_s: float) -> float:
    """Return how many seconds an attempt may last, from opening its connection to the last byte of its answer.

    >>> longest_attempt_s(1_000_000, timeout_s=30.0)
    50.0
    """
    return timeout_s + body_bytes / SLOWEST_BYTES_PER_S


class Deadline(threading.local):
    """When the attempt of the current thread must be over, and how many bytes of its request were sent."""

    def __init__(self) -> None:
        self.sent = 0
        self._begun, self._ends = -math.inf, math.inf

    def begin(self, allowed_s: float) -> None:
        """Begin an attempt."""
        self._begun = time.monotonic()
        self._ends, self.sent = self._begun + allowed_s, 0

    def left_s(self) -> float:
        """Return the remaining seconds; 0 or less once the time is over."""
        return self._ends - time.monotonic()

    def used_s(self) -> float:
        """Return how many seconds ago the attempt began."""
        return time.monotonic() - self._begun

    def watch(self, stream: Any) -> None:  # a httpcore.NetworkStream, whose methods are replaced
        """Make a new stream keep the deadline of whichever attempt uses it."""
        watched = _Watched(self, stream)
        stream.read, stream.write = watched.read, watched.write


class _Watched:
    """The replacement of ``read`` and ``write`` of a stream."""

    def __init__(self, deadline: Deadline, stream: httpcore.NetworkStream) -> None:
        self._deadline = deadline
        self._read, self._write = stream.read, stream.write
        self._socket = stream.get_extra_info("socket")
        # An SSLObject is TLS over something other than a socket; over a socket it is an SSLSocket.
        self._nested = isinstance(stream.get_extra_info("ssl_object"), ssl.SSLObject)
        self._is_tls = self._nested or isinstance(self._socket, ssl.SSLSocket)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read until the attempt must be over."""
        try:
            return self._read(max_bytes, min(self._left_s(), math.inf if timeout is None else timeout))
        except httpcore.ReadTimeout:
            raise self._too_late() from None

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002  # httpcore passes it
        """Write everything, unless the attempt must be over before."""
        view, piece_bytes = memoryview(buffer), RECORD_BYTES if self._is_tls else len(buffer)
        while view:
            taken = self._send(view[:piece_bytes], self._left_s())
            self._deadline.sent += taken
            view = view[taken:]

    def _send(self, piece: memoryview, left_s: float) -> int:
        if self._nested:
            self._write(bytes(piece), left_s)
            return len(piece)
        try:
            self._socket.settimeout(left_s)
            return int(self._socket.send(piece))
        except TimeoutError:
            raise self._too_late() from None
        except OSError as error:  # httpcore then reads the answer that an early refusal may have left
            raise httpcore.WriteError(str(error)) from error

    def _left_s(self) -> float:
        left_s = self._deadline.left_s()
        if left_s <= 0:
            raise self._too_late()
        return left_s

    def _too_late(self) -> httpx.TimeoutException:
        """End the attempt, so that closing the connection discards what is not on the wire yet."""
        with suppress(OSError):  # closed by the other side, or by another thread
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
        return httpx.ReadTimeout("no complete answer in time")

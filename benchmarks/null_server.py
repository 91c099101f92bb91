"""A server that reads every body and answers 204 after a delay: for benchmarks, so that the client is what is measured.

Run: ``python null_server.py DELAY_SECONDS``; prints its port. One thread per connection, no parsing beyond the length.
"""

from __future__ import annotations

import socket
import sys
import threading
import time

ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"


def serve(connection: socket.socket, delay_s: float) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    buffer = memoryview(bytearray(1 << 20))
    pending = b""
    while True:
        while b"\r\n\r\n" not in pending:
            got = connection.recv(65536)
            if not got:
                return
            pending += got
        head, _, pending = pending.partition(b"\r\n\r\n")
        left = length_of(head) - len(pending)
        pending = pending[length_of(head) :]
        while left > 0:
            left -= connection.recv_into(buffer, min(left, len(buffer)))
        if delay_s:
            time.sleep(delay_s)
        connection.sendall(ANSWER)


def length_of(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line[15:])
    return 0


def main() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=(connection, float(sys.argv[1])), daemon=True).start()


if __name__ == "__main__":
    main()

"""A keep-alive connection of a client that never waits for anything but the answer."""

import asyncio
from dataclasses import dataclass
from typing import Self

from benchmarks.load.messages import HOST, Answer

# What asking on a connection raises when no whole answer comes back.
BROKEN = (ConnectionError, asyncio.IncompleteReadError)


@dataclass
class Connection:
    """One connection, with one request at a time."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def open(cls, port: int) -> Self:
        """Connects; raises ConnectionRefusedError where nobody listens."""
        return cls(*await asyncio.open_connection(HOST, port))

    @property
    def gone(self) -> bool:
        """Whether the other side has hung up, as far as it is known here."""
        return self.reader.at_eof() or self.writer.is_closing()

    async def ask(self, request: bytes) -> Answer:
        """Sends a request as it is and reads its answer; raises one of BROKEN when that does not come whole."""
        self.writer.write(request)
        await self.writer.drain()
        head = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await self.reader.readexactly(int(headers["content-length"]))
        return Answer(int(first.split(" ", 2)[1]), headers, body)

    def close(self) -> None:
        """Hangs up; with an answer unread, the other side sees a reset."""
        self.writer.close()


def closes(answer: Answer) -> bool:
    """Whether the server says that this was the connection's last answer."""
    return answer.headers.get("connection", "").lower() == "close"

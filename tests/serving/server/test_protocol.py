"""What goes over a connection, byte by byte: uvicorn with our protocol on a real socket, in front of a small app."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any, BinaryIO

import pytest
import uvicorn

from serving.errors import MintError
from serving.http.exception_handlers import error_response
from serving.server.limits import ConnectionLimits, ConnectionUsage
from serving.server.protocol import RequestProtocol

TIME_LIMIT_S = 90  # of what should come at once
LARGE = 32 << 20  # more than the system keeps for a client that does not read
HEAD = b"POST /echo HTTP/1.1\r\nHost: mint\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: mint\r\n\r\n"


class Small:
    """An app that says what it was sent. It waits at /held until it is let go, and reads no body at /refused."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.begun = threading.Semaphore(0)
        self.left = threading.Event()  # a client at /held is gone
        self.sent = threading.Event()  # an answer of /large has been read
        self.paths: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.paths.append(scope["path"])
        self.begun.release()
        try:
            await self.answer(scope, receive, send)
        except MintError as error:
            await error_response(error)(scope, receive, send)

    async def answer(self, scope: Any, receive: Any, send: Any) -> None:
        path, body, status, more = scope["path"], b"", 200, True
        while more and path != "/refused":
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        if path == "/held":
            await self.hold(receive)
        if path == "/refused":
            status = 413
        headers = [[name.decode(), value.decode("latin-1")] for name, value in scope["headers"]]
        said = {"path": path, "query": scope["query_string"].decode(), "body": body.decode(), "headers": headers}
        content = bytes(LARGE) if path == "/large" else json.dumps(said).encode()
        length = (b"content-length", str(len(content)).encode())
        await send({"type": "http.response.start", "status": status, "headers": [length]})
        await send({"type": "http.response.body", "body": content})
        if path == "/large":
            self.sent.set()

    async def hold(self, receive: Any) -> None:
        leaving = asyncio.ensure_future(receive())
        while not self.go_on.is_set() and not leaving.done():
            await asyncio.sleep(0.005)
        if leaving.done():
            self.left.set()
        leaving.cancel()


@contextmanager
def serving(**limits: Any) -> Iterator[tuple[Small, int]]:
    """The app behind the protocol, and its port."""
    app = Small()
    protocol = partial(RequestProtocol, limits=ConnectionLimits(**limits), usage=ConnectionUsage())
    config = uvicorn.Config(app, http=protocol, lifespan="off", ws="none", log_config=None)  # type: ignore[arg-type]
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield app, listener.getsockname()[1]
        finally:
            app.go_on.set()
            server.should_exit = server.force_exit = True
            thread.join()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """One server with the limits that there are by default."""
    with serving() as (_, port):
        yield port


class Client:
    """A connection whose bytes are chosen one by one."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        self.socket.settimeout(TIME_LIMIT_S)
        self.socket.connect(("127.0.0.1", port))
        self.reader: BinaryIO = self.socket.makefile("rb")

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, data: bytes) -> "Client":
        self.socket.sendall(data)
        return self

    def end(self) -> "Client":
        """Says that nothing more will be sent."""
        self.socket.shutdown(socket.SHUT_WR)
        return self

    def close(self) -> None:
        self.reader.close()
        self.socket.close()

    def answer(self) -> tuple[int, dict[str, str], Any]:
        """Status, headers and JSON of the next answer."""
        status = int(self.reader.readline().split()[1])
        headers = {}
        while line := self.reader.readline().strip():
            name, _, value = line.decode().partition(": ")
            headers[name] = value
        body = self.reader.read(int(headers["content-length"]))
        return status, headers, json.loads(body) if body.startswith(b"{") else body

    def rest(self) -> int:
        """Bytes that come until the connection ends, in whatever way."""
        size = 0
        with suppress(ConnectionError):
            while more := self.reader.read(1 << 16):
                size += len(more)
        return size

    def over(self) -> bool:
        """Whether the server has ended the connection, with nothing more said."""
        try:
            return self.reader.read(1) == b""
        except ConnectionError:
            return True


def asked(port: int, data: bytes) -> tuple[int, dict[str, str], Any]:
    """The first answer to what is sent on a connection of its own."""
    with Client(port) as client:
        return client.send(data).answer()


def until(condition: Callable[[], bool]) -> None:
    """Returns when the condition holds; fails when it never does."""
    deadline = time.monotonic() + TIME_LIMIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 5\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"]
)
@pytest.mark.parametrize("size", [1, 1 << 20], ids=["byte by byte", "at once"])
@pytest.mark.parametrize(
    "upgrade",
    [
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAA\r\n",
        b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n",
        b"Upgrade: TLS/1.0, something/2\r\nConnection: keep-alive, Upgrade\r\n",
    ],
    ids=["h2c", "websocket", "others"],
)
def test_upgrade_is_ignored_and_the_body_and_the_next_request_are_read(
    port: int, upgrade: bytes, size: int, framing: bytes
) -> None:
    data = HEAD + upgrade + framing + NEXT
    with Client(port) as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(data), size):
            client.send(data[start : start + size])
        status, _, said = client.answer()
        assert (status, said["path"], said["body"]) == (200, "/echo", "hello")
        assert "upgrade" not in dict(said["headers"])
        assert client.answer()[2]["path"] == "/next"


def head(*lines: bytes, start: bytes = b"POST /echo HTTP/1.1") -> bytes:
    return b"\r\n".join((start, b"Host: mint", *lines, b"", b""))


@pytest.mark.parametrize(
    ("sent", "status", "sentence"),
    [
        (head(b"Content-Length: 5", b"Transfer-Encoding: chunked") + b"0\r\n\r\n", 400, "Transfer-Encoding can't be"),
        (head(b"Transfer-Encoding: chunked", b"Content-Length: 5") + b"0\r\n\r\n", 400, "Content-Length can't be"),
        (head(b"Content-Length: 5", b"Content-Length: 6") + b"hello!", 400, "Duplicate Content-Length"),
        (head(b"Content-Length: 5, 5") + b"hello", 400, "Content-Length"),
        (head(b"Content-Length: -5"), 400, "Content-Length"),
        (head(b"Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n", 501, "chunked"),
        (head(b"Transfer-Encoding: identity") + b"hello", 501, "chunked"),
        (head(b"Transfer-Encoding: chunked") + b"zz\r\n", 400, "not sound HTTP/1.1"),
        (head(b"Transfer-Encoding: chunked", start=b"POST /echo HTTP/1.0") + b"0\r\n\r\n", 400, "HTTP/1.0"),
        (head(b"Host: other"), 400, "2 Host headers"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "0 Host headers"),
        (head(b"Folded: a", b" b"), 400, "not sound HTTP/1.1"),
        (head(b"Space : a"), 400, "not sound HTTP/1.1"),
        (head(b"Null: \0"), 400, "not sound HTTP/1.1"),
        (b"GET / HTTP/1.1\nHost: mint\n\n", 400, "not sound HTTP/1.1"),
        (head(start=b"GET / HTTP/2.0"), 505, "use HTTP/1.1"),
        (b"GET /\r\n\r\n", 505, "use HTTP/1.1"),
        (head(start=b"GET / HTTP/1.7"), 400, "not sound HTTP/1.1"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "not sound HTTP/1.1"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "TLS ends in front"),
        (head(start=b"CONNECT mint:80 HTTP/1.1"), 501, "no proxy"),
        (head(start="GET /echo?label=é HTTP/1.1".encode()), 400, "percent-encoded"),
        (head(start=b"GET /a b HTTP/1.1"), 400, "percent-encoded"),
        (head(start=b"GET /a#b HTTP/1.1"), 400, "percent-encoded"),
        (head(start=b"GET echo HTTP/1.1"), 400, "percent-encoded"),
        (head(start=b"GET * HTTP/1.1"), 400, "the address"),
        (head(start=b"GET ftp://mint/ HTTP/1.1"), 400, "the address"),
        (head(start=b"GET /" + b"a" * 20_000 + b" HTTP/1.1"), 414, "longer than"),
        (head(*[b"A: b"] * 100), 431, "100 headers"),
        (head(b"A: " + b"b" * 30_000), 431, "24576 bytes"),
        (b"GET / HTTP/1.1\r\nHost: mint\r\nAccept: " + b"a" * 5_000_000, 431, "24576 bytes"),
        (head(b"Transfer-Encoding: chunked") + b"5;" + b"e" * 100_000, 400, "chunk extensions"),
        (head(b"Transfer-Encoding: chunked") + b"0\r\nTrailer: " + b"e" * 100_000, 400, "trailers"),
    ],
)
def test_what_is_no_sound_request_is_refused_with_a_sentence(
    port: int, sent: bytes, status: int, sentence: str
) -> None:
    """And the connection ends after it: what follows could be read in two ways."""
    with Client(port) as client:
        got, headers, said = client.send(sent + NEXT).answer()
        assert got == status
        assert sentence in said["error"]
        assert "\n" not in said["error"]
        assert said["detail"] == []
        assert headers["connection"] == "close"
        assert headers["content-type"] == "application/json"
        assert client.over()


def test_trailers_are_headers_of_no_request(port: int) -> None:
    with Client(port) as client:
        client.send(head(b"Transfer-Encoding: chunked") + b"2;a=b\r\nhi\r\n0\r\nX-One: 1\r\nX-Two: 2\r\n\r\n" + NEXT)
        for path, body in (("/echo", "hi"), ("/next", "")):
            said = client.answer()[2]
            assert (said["path"], said["body"]) == (path, body)
            assert not {"x-one", "x-two"} & dict(said["headers"]).keys()


def test_what_http_allows_is_served(port: int) -> None:
    for start, path, query in [
        (b"GET http://mint/a/b?c=d HTTP/1.1", "/a/b", "c=d"),
        (b"GET http://mint HTTP/1.1", "/", ""),
        (b"OPTIONS * HTTP/1.1", "*", ""),
        (b"GET /%C3%A9?l=%C3%A9 HTTP/1.0", "/é", "l=%C3%A9"),
        (b"GET //a HTTP/1.1", "//a", ""),
        (b"GET /" + b"a" * 16_000 + b" HTTP/1.1", "/" + "a" * 16_000, ""),
        (b"\r\n\r\nGET / HTTP/1.1", "/", ""),
    ]:
        status, _, said = asked(port, head(*[b"A: b"] * 90, start=start))
        assert (status, said["path"], said["query"]) == (200, path, query)


def test_what_does_not_come_in_time_is_answered_with_408() -> None:
    late = {
        b"GET /late HTTP/1.1\r\nHos": "the head of the request was not whole within 3 s",
        head(b"Content-Length: 5") + b"hell": "the body was not whole within 3 s",
        head(b"Transfer-Encoding: chunked") + b"5\r\nhello\r\n": "the body was not whole within 3 s",
    }
    with serving(read_s=3) as (app, port), ExitStack() as stack:
        clients = [stack.enter_context(Client(port)).send(sent) for sent in late]
        silent, between = stack.enter_context(Client(port)), stack.enter_context(Client(port))
        between.send(NEXT).answer()
        between.send(b"\r\n")  # no more of a request than the line ends before it
        whole = [
            stack.enter_context(Client(port)).send(b"GET /held HTTP/1.%d\r\nHost: mint\r\n%b\r\n" % (minor, option))
            for minor, option in ((0, b""), (1, b"Connection: close\r\n"), (1, b""))
        ]
        until(lambda: app.paths.count("/held") == len(whole))
        later = stack.enter_context(Client(port)).send(b"GET /late HTTP/1.1\r\nHos")
        for client, sentence in zip(clients, late.values(), strict=True):
            status, headers, said = client.answer()
            assert (status, headers["connection"]) == (408, "close")
            assert sentence in said["error"]
            assert client.over()
        assert silent.over()
        assert between.over()
        assert later.answer()[0] == 408  # so the time is over for those before it, whose answers just take longer
        app.go_on.set()
        assert [client.answer()[0] for client in whole] == [200, 200, 200]
        assert "/late" not in app.paths


def test_a_new_connection_takes_the_place_of_the_one_that_has_idled_longest() -> None:
    with serving(connections=2) as (app, port), Client(port) as first, Client(port) as second:
        first.send(NEXT).answer()
        second.send(NEXT).answer()
        first.send(NEXT).answer()
        with Client(port) as third:
            assert third.send(NEXT).answer()[0] == 200
            assert second.over()
            assert first.send(NEXT).answer()[0] == 200

        held = [client.send(b"GET /held HTTP/1.1\r\nHost: mint\r\n\r\n") for client in (first, Client(port))]
        until(lambda: app.paths.count("/held") == 2)
        with Client(port) as refused:
            status, headers, said = refused.answer()
            assert (status, headers["retry-after"], headers["connection"]) == (503, "1", "close")
            assert "too many connections" in said["error"]
            assert refused.over()
        app.go_on.set()
        assert [client.answer()[0] for client in held] == [200, 200]
        held[1].close()


def test_requests_sent_ahead_are_answered_in_order_up_to_a_limit() -> None:
    with serving(pipelined=3) as (app, port), Client(port) as client:
        ahead = b"".join(b"GET /%d HTTP/1.1\r\nHost: mint\r\n\r\n" % number for number in range(20))
        client.send(b"GET /held HTTP/1.1\r\nHost: mint\r\n\r\n" + ahead)
        app.begun.acquire()
        app.go_on.set()
        answers = [client.answer() for _ in range(4)]
        assert [said["path"] for _, _, said in answers] == ["/held", "/0", "/1", "/2"]
        assert [headers.get("connection") for _, headers, _ in answers] == [None, None, None, "close"]
        assert client.over()


def test_bodies_that_are_held_have_a_bound_that_small_ones_pass() -> None:
    with serving(held_bytes=100_000) as (app, port), Client(port) as slow:
        slow.send(head(b"Content-Length: 200000") + b"a" * 90_000)
        until(lambda: app.paths == ["/echo"])
        large = head(b"Content-Length: 50000") + b"b" * 50_000
        until(lambda: asked(port, large)[0] == 503)  # once all of the slow one is there
        status, headers, said = asked(port, large)
        assert (status, headers["retry-after"]) == (503, "1")
        assert "too many large bodies" in said["error"]
        assert asked(port, head(b"Content-Length: 5") + b"small")[0] == 200
        slow.close()
        until(lambda: asked(port, large)[0] == 200)


def test_an_answer_is_sent_when_it_has_been_read_and_the_next_request_begins_then() -> None:
    with serving() as (app, port), Client(port) as client:
        client.send(b"GET /large HTTP/1.1\r\nHost: mint\r\n\r\n" + NEXT)
        app.begun.acquire()
        asked(port, head(start=b"GET /other HTTP/1.1"))  # the service goes on
        assert app.paths == ["/large", "/other"]
        assert not app.sent.is_set()
        assert client.answer()[2] == bytes(LARGE)
        assert client.answer()[2]["path"] == "/next"
        assert app.sent.wait(TIME_LIMIT_S)


def test_clients_that_do_not_read_are_cut_off() -> None:
    large = b"GET /large HTTP/1.1\r\nHost: mint\r\n\r\n"
    with serving(write_s=0.3) as (app, port), Client(port) as client:
        client.send(large)
        assert app.sent.wait(TIME_LIMIT_S)
        assert client.rest() < LARGE
    with serving(unread_bytes=LARGE) as (app, port), Client(port) as slowest, Client(port) as other:
        slowest.send(large)
        app.begun.acquire()
        other.send(large)
        assert app.sent.wait(TIME_LIMIT_S)  # of the slowest, to make room
        assert other.answer()[2] == bytes(LARGE)
        assert slowest.rest() < LARGE


@pytest.mark.parametrize("option", [b"Connection: keep-alive", b"Connection: close"])
def test_a_body_that_is_refused_is_drained_so_that_the_refusal_is_seen(port: int, option: bytes) -> None:
    refused = head(b"Content-Length: %d" % LARGE, option, start=b"POST /refused HTTP/1.1")
    with Client(port) as client:
        status, headers, _ = client.send(refused + bytes(LARGE)).answer()
        assert status == 413
        if option == b"Connection: close":
            assert (headers["connection"], client.over()) == ("close", True)
        else:
            assert client.send(NEXT).answer()[2]["path"] == "/next"


def test_a_client_that_never_stops_sending_what_was_refused_is_cut_off() -> None:
    with serving(drained_bytes=1 << 20) as (_, port), Client(port) as client, suppress(ConnectionError):
        client.send(head(b"Content-Length: %d" % (1 << 40), start=b"POST /refused HTTP/1.1"))
        client.answer()
        while True:
            client.send(bytes(1 << 16))
    with serving(read_s=3) as (_, port), Client(port) as client:
        client.send(head(b"Content-Length: 5", start=b"POST /refused HTTP/1.1"))
        assert client.answer()[0] == 413
        assert client.over()


def test_a_body_that_waits_to_be_asked_for_is_not_asked_for_when_it_is_refused(port: int) -> None:
    expect = (b"Content-Length: 5", b"Expect: 100-continue")
    with Client(port) as client:
        client.send(head(*expect))
        assert client.reader.readline() == b"HTTP/1.1 100 Continue\r\n"
        assert client.reader.readline() == b"\r\n"
        assert client.send(b"hello").answer()[2]["body"] == "hello"
    with Client(port) as client:
        status, headers, _ = client.send(head(*expect, start=b"POST /refused HTTP/1.1")).answer()
        assert (status, headers["connection"]) == (413, "close")
        assert client.over()


def test_who_has_ended_its_own_side_still_gets_its_answers() -> None:
    with serving() as (app, port):
        app.go_on.set()
        with Client(port) as client:
            client.send(
                head(b"Content-Length: 5") + b"hello" + NEXT + b"GET /held HTTP/1.1\r\nHost: mint\r\n\r\n"
            ).end()
            assert [client.answer()[2]["path"] for _ in range(3)] == ["/echo", "/next", "/held"]
            assert client.over()
        app.go_on.clear()
        with Client(port) as client:
            client.send(b"GET /held HTTP/1.1\r\nHost: mint\r\n\r\n").end()
            until(lambda: app.paths.count("/held") == 2)
            asked(port, NEXT)
            app.go_on.set()
            status, headers, said = client.answer()
            assert (status, said["path"], headers["connection"]) == (200, "/held", "close")
            assert client.over()
        for part in (b"GET / HT", head(b"Content-Length: 5") + b"hel"):
            with Client(port) as client:
                status, _, said = client.send(part).end().answer()
                assert (status, said["error"]) == (
                    400,
                    "the connection ended before the request was whole; send all of it",
                )
                assert client.over()
        with Client(port) as client:
            assert client.end().over()
        with Client(port) as client:
            client.send(b"GET /large HTTP/1.1\r\nHost: mint\r\n\r\n").end()
            until(lambda: "/large" in app.paths)
            assert client.answer()[2] == bytes(LARGE)
            assert client.over()


def test_the_app_is_told_when_a_client_is_gone_and_not_only_silent() -> None:
    for ahead in (b"", NEXT):
        with serving() as (app, port):
            Client(port).send(b"GET /held HTTP/1.1\r\nHost: mint\r\n\r\n" + ahead).close()
            assert app.left.wait(TIME_LIMIT_S)

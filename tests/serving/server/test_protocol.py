"""HTTP/1.1 parsing: what is served, what is refused, pipelining, Upgrade and Expect."""

import socket

import pytest

from tests.serving.server.raw_http import (
    NEXT_REQUEST,
    POST_START,
    RawClient,
    exchange,
    head,
    serve_protocol,
)


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
def test_upgrade_is_ignored_and_the_body_and_the_next_request_are_parsed(
    port: int, upgrade: bytes, size: int, framing: bytes
) -> None:
    data = POST_START + upgrade + framing + NEXT_REQUEST
    with RawClient(port) as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(data), size):
            client.send(data[start : start + size])
        status, _, body = client.read_response()
        assert (status, body["path"], body["body"]) == (200, "/echo", "hello")
        assert "upgrade" not in dict(body["headers"])
        assert client.read_response()[2]["path"] == "/next"


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
def test_an_invalid_request_gets_an_error_and_the_connection_ends(
    port: int, sent: bytes, status: int, sentence: str
) -> None:
    # What follows could be parsed in two ways, so it is not parsed.
    with RawClient(port) as client:
        got, headers, body = client.send(sent + NEXT_REQUEST).read_response()
        assert got == status
        assert sentence in body["error"]
        assert "\n" not in body["error"]
        assert body["detail"] == []
        assert headers["connection"] == "close"
        assert headers["content-type"] == "application/json"
        assert client.is_closed()


def test_trailers_are_dropped(port: int) -> None:
    with RawClient(port) as client:
        client.send(
            head(b"Transfer-Encoding: chunked") + b"2;a=b\r\nhi\r\n0\r\nX-One: 1\r\nX-Two: 2\r\n\r\n" + NEXT_REQUEST
        )
        for path, content in (("/echo", "hi"), ("/next", "")):
            body = client.read_response()[2]
            assert (body["path"], body["body"]) == (path, content)
            assert not {"x-one", "x-two"} & dict(body["headers"]).keys()


def test_unusual_but_valid_requests_are_served(port: int) -> None:
    for start, path, query in [
        (b"GET http://mint/a/b?c=d HTTP/1.1", "/a/b", "c=d"),
        (b"GET http://mint HTTP/1.1", "/", ""),
        (b"OPTIONS * HTTP/1.1", "*", ""),
        (b"GET /%C3%A9?l=%C3%A9 HTTP/1.0", "/é", "l=%C3%A9"),
        (b"GET //a HTTP/1.1", "//a", ""),
        (b"GET /" + b"a" * 16_000 + b" HTTP/1.1", "/" + "a" * 16_000, ""),
        (b"\r\n\r\nGET / HTTP/1.1", "/", ""),
    ]:
        status, _, body = exchange(port, head(*[b"A: b"] * 90, start=start))
        assert (status, body["path"], body["query"]) == (200, path, query)


def test_pipelined_requests_are_served_in_order_up_to_a_limit() -> None:
    with serve_protocol(pipelined=3) as (app, port), RawClient(port) as client:
        pipelined = b"".join(b"GET /%d HTTP/1.1\r\nHost: mint\r\n\r\n" % number for number in range(20))
        client.send(b"GET /held HTTP/1.1\r\nHost: mint\r\n\r\n" + pipelined)
        app.started.acquire()
        app.go_on.set()
        responses = [client.read_response() for _ in range(4)]
        assert [body["path"] for _, _, body in responses] == ["/held", "/0", "/1", "/2"]
        assert [headers.get("connection") for _, headers, _ in responses] == [None, None, None, "close"]
        assert client.is_closed()


def test_a_refused_request_gets_no_100_continue(port: int) -> None:
    expect = (b"Content-Length: 5", b"Expect: 100-continue")
    with RawClient(port) as client:
        client.send(head(*expect))
        assert client.reader.readline() == b"HTTP/1.1 100 Continue\r\n"
        assert client.reader.readline() == b"\r\n"
        assert client.send(b"hello").read_response()[2]["body"] == "hello"
    with RawClient(port) as client:
        status, headers, _ = client.send(head(*expect, start=b"POST /refused HTTP/1.1")).read_response()
        assert (status, headers["connection"]) == (413, "close")
        assert client.is_closed()

"""Connection limits: time, number, memory, slow and disconnecting clients."""

from contextlib import ExitStack, suppress

import pytest

from tests.serving.server.raw_http import (
    LARGE,
    NEXT_REQUEST,
    TIME_LIMIT_S,
    RawClient,
    exchange,
    head,
    serve_protocol,
    wait_until,
)


def test_a_head_or_body_that_is_late_gets_408() -> None:
    late = {
        b"GET /late HTTP/1.1\r\nHos": "the head of the request was not whole within 3 s",
        head(b"Content-Length: 5") + b"hell": "the body was not whole within 3 s",
        head(b"Transfer-Encoding: chunked") + b"5\r\nhello\r\n": "the body was not whole within 3 s",
    }
    with serve_protocol(read_s=3) as (app, port), ExitStack() as stack:
        clients = [stack.enter_context(RawClient(port)).send(sent) for sent in late]
        silent, idle = stack.enter_context(RawClient(port)), stack.enter_context(RawClient(port))
        idle.send(NEXT_REQUEST).read_response()
        idle.send(b"\r\n")  # only the line end that may come before a request
        complete = [
            stack.enter_context(RawClient(port)).send(b"GET /held HTTP/1.%d\r\nHost: mint\r\n%b\r\n" % (minor, option))
            for minor, option in ((0, b""), (1, b"Connection: close\r\n"), (1, b""))
        ]
        wait_until(lambda: app.paths.count("/held") == len(complete))
        later = stack.enter_context(RawClient(port)).send(b"GET /late HTTP/1.1\r\nHos")
        for client, sentence in zip(clients, late.values(), strict=True):
            status, headers, body = client.read_response()
            assert (status, headers["connection"]) == (408, "close")
            assert sentence in body["error"]
            assert client.is_closed()
        assert silent.is_closed()
        assert idle.is_closed()
        # When a later client's time is over, so is that of those before it, whose responses just take longer.
        assert later.read_response()[0] == 408
        app.go_on.set()
        assert [client.read_response()[0] for client in complete] == [200, 200, 200]
        assert "/late" not in app.paths


def test_at_the_limit_a_new_connection_replaces_the_longest_idle_one() -> None:
    with serve_protocol(connections=2) as (app, port), RawClient(port) as first, RawClient(port) as second:
        first.send(NEXT_REQUEST).read_response()
        second.send(NEXT_REQUEST).read_response()
        first.send(NEXT_REQUEST).read_response()
        with RawClient(port) as third:
            assert third.send(NEXT_REQUEST).read_response()[0] == 200
            assert second.is_closed()
            assert first.send(NEXT_REQUEST).read_response()[0] == 200

        held = [client.send(b"GET /held HTTP/1.1\r\nHost: mint\r\n\r\n") for client in (first, RawClient(port))]
        wait_until(lambda: app.paths.count("/held") == 2)
        with RawClient(port) as rejected:
            status, headers, body = rejected.read_response()
            assert (status, headers["retry-after"], headers["connection"]) == (503, "1", "close")
            assert "too many connections" in body["error"]
            assert rejected.is_closed()
        app.go_on.set()
        assert [client.read_response()[0] for client in held] == [200, 200]
        held[1].close()


def test_bodies_in_progress_are_bounded_in_all_except_small_ones() -> None:
    with serve_protocol(held_bytes=100_000) as (app, port), RawClient(port) as slow:
        slow.send(head(b"Content-Length: 200000") + b"a" * 90_000)
        wait_until(lambda: app.paths == ["/echo"])
        large = head(b"Content-Length: 50000") + b"b" * 50_000
        wait_until(lambda: exchange(port, large)[0] == 503)  # once all of the slow body has arrived
        status, headers, body = exchange(port, large)
        assert (status, headers["retry-after"]) == (503, "1")
        assert "too many large bodies" in body["error"]
        assert exchange(port, head(b"Content-Length: 5") + b"small")[0] == 200
        slow.close()
        wait_until(lambda: exchange(port, large)[0] == 200)


def test_the_next_request_starts_when_the_response_has_been_read() -> None:
    with serve_protocol() as (app, port), RawClient(port) as client:
        client.send(b"GET /large HTTP/1.1\r\nHost: mint\r\n\r\n" + NEXT_REQUEST)
        app.started.acquire()
        exchange(port, head(start=b"GET /other HTTP/1.1"))  # the server still responds
        assert app.paths == ["/large", "/other"]
        assert not app.sent.is_set()
        assert client.read_response()[2] == bytes(LARGE)
        assert client.read_response()[2]["path"] == "/next"
        assert app.sent.wait(TIME_LIMIT_S)


def test_clients_that_do_not_read_are_disconnected() -> None:
    large = b"GET /large HTTP/1.1\r\nHost: mint\r\n\r\n"
    with serve_protocol(write_s=0.3) as (app, port), RawClient(port) as client:
        client.send(large)
        assert app.sent.wait(TIME_LIMIT_S)
        assert client.count_remaining() < LARGE
    with serve_protocol(unread_bytes=LARGE) as (app, port), RawClient(port) as slowest, RawClient(port) as other:
        slowest.send(large)
        app.started.acquire()
        other.send(large)
        assert app.sent.wait(TIME_LIMIT_S)  # the slowest is disconnected to make room
        assert other.read_response()[2] == bytes(LARGE)
        assert slowest.count_remaining() < LARGE


@pytest.mark.parametrize("option", [b"Connection: keep-alive", b"Connection: close"])
def test_a_refused_body_is_drained_so_that_its_client_sees_the_response(port: int, option: bytes) -> None:
    refused = head(b"Content-Length: %d" % LARGE, option, start=b"POST /refused HTTP/1.1")
    with RawClient(port) as client:
        status, headers, _ = client.send(refused + bytes(LARGE)).read_response()
        assert status == 413
        if option == b"Connection: close":
            assert (headers["connection"], client.is_closed()) == ("close", True)
        else:
            assert client.send(NEXT_REQUEST).read_response()[2]["path"] == "/next"


def test_a_client_that_never_stops_sending_a_refused_body_is_disconnected() -> None:
    with serve_protocol(drained_bytes=1 << 20) as (_, port), RawClient(port) as client, suppress(ConnectionError):
        client.send(head(b"Content-Length: %d" % (1 << 40), start=b"POST /refused HTTP/1.1"))
        client.read_response()
        while True:
            client.send(bytes(1 << 16))
    with serve_protocol(read_s=3) as (_, port), RawClient(port) as client:
        client.send(head(b"Content-Length: 5", start=b"POST /refused HTTP/1.1"))
        assert client.read_response()[0] == 413
        assert client.is_closed()


def test_a_half_closed_connection_still_gets_its_responses() -> None:
    with serve_protocol() as (app, port):
        app.go_on.set()
        with RawClient(port) as client:
            client.send(
                head(b"Content-Length: 5") + b"hello" + NEXT_REQUEST + b"GET /held HTTP/1.1\r\nHost: mint\r\n\r\n"
            ).send_eof()
            assert [client.read_response()[2]["path"] for _ in range(3)] == ["/echo", "/next", "/held"]
            assert client.is_closed()
        app.go_on.clear()
        with RawClient(port) as client:
            client.send(b"GET /held HTTP/1.1\r\nHost: mint\r\n\r\n").send_eof()
            wait_until(lambda: app.paths.count("/held") == 2)
            exchange(port, NEXT_REQUEST)
            app.go_on.set()
            status, headers, body = client.read_response()
            assert (status, body["path"], headers["connection"]) == (200, "/held", "close")
            assert client.is_closed()
        for part in (b"GET / HT", head(b"Content-Length: 5") + b"hel"):
            with RawClient(port) as client:
                status, _, body = client.send(part).send_eof().read_response()
                assert (status, body["error"]) == (
                    400,
                    "the connection ended before the request was whole; send all of it",
                )
                assert client.is_closed()
        with RawClient(port) as client:
            assert client.send_eof().is_closed()
        with RawClient(port) as client:
            client.send(b"GET /large HTTP/1.1\r\nHost: mint\r\n\r\n").send_eof()
            wait_until(lambda: "/large" in app.paths)
            assert client.read_response()[2] == bytes(LARGE)
            assert client.is_closed()


def test_the_app_is_told_of_a_client_that_has_disconnected() -> None:
    for ahead in (b"", NEXT_REQUEST):
        with serve_protocol() as (app, port):
            RawClient(port).send(b"GET /held HTTP/1.1\r\nHost: mint\r\n\r\n" + ahead).close()
            assert app.disconnected.wait(TIME_LIMIT_S)

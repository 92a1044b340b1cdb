"""Both clients get from the service what their methods promise, and say in one sentence what they did not get."""

import asyncio
import io
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from serving.client import AsyncMintClient, Generated, MintClient, NoResponseError, ServerError
from serving.client.proxies import bypasses
from serving.errors import InputError, MintError
from serving.http.auth import key_hash
from serving.inference.generator import OnnxGenerator
from tests.live_service import live_service
from tests.pixels import assert_same_pixels

KEY = "a key for tests"
MAX_IMAGES = 8
NO_MODELS = b'{"models": []}'
ERROR = b'{"error": "try again", "detail": []}'

Ask = Callable[..., Any]


def blocking(
    url: str,
    method: str,
    *arguments: Any,
    key: str | None = KEY,
    patience: float = 60,
    timeout: float = 60,
    **options: Any,
) -> Any:
    """Calls a method of a client of its own."""
    with MintClient(url, key, patience, timeout) as mint:
        return getattr(mint, method)(*arguments, **options)


def awaited(
    url: str,
    method: str,
    *arguments: Any,
    key: str | None = KEY,
    patience: float = 60,
    timeout: float = 60,
    **options: Any,
) -> Any:
    """The same with the client for async code."""

    async def call() -> Any:
        async with AsyncMintClient(url, key, patience, timeout) as mint:
            return await getattr(mint, method)(*arguments, **options)

    return asyncio.run(call())


BOTH = pytest.mark.parametrize("ask", [blocking, awaited])


@pytest.fixture(scope="module")
def url(model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service with the tiny model, which asks for a key."""
    home = tmp_path_factory.mktemp("service")
    with live_service(model_path, home, MINT_API_KEYS=key_hash(KEY), MINT_MAX_IMAGES=str(MAX_IMAGES)) as service:
        yield str(service.client.base_url)


class Scripted(ThreadingHTTPServer):
    """A server that gives the answers of its script one after another, the last one for ever."""

    daemon_threads = True

    def __init__(self, *script: tuple[int, dict[str, str], bytes] | None, port: int = 0) -> None:
        """script: status, headers and body; None hangs up without an answer."""
        self.script = list(script)
        self.paths: list[str] = []  # that were asked for
        self.authorizations: list[str | None] = []
        super().__init__(("127.0.0.1", port), ScriptedAnswer)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class ScriptedAnswer(BaseHTTPRequestHandler):
    """Reads a request and follows the script."""

    server: Scripted

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        self.server.authorizations.append(self.headers.get("Authorization"))
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answer = self.server.script.pop(0) if len(self.server.script) > 1 else self.server.script[0]
        if answer is None:
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        status, headers, body = answer
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json", "Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@contextmanager
def scripted(*script: tuple[int, dict[str, str], bytes] | None, port: int = 0) -> Iterator[Scripted]:
    """Runs a server in a thread."""
    with Scripted(*script, port=port) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def pixels(content: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(content)))


@BOTH
def test_seeds_labels_and_truncation_give_the_models_images(ask: Ask, url: str, generator: OnnxGenerator) -> None:
    made: Generated = ask(url, "generate", np.array([5, 3]), labels=["EEL", 0], truncation=0.5)
    expected, _ = generator.generate([5, 3], np.array([2, 0]), 0.5)
    assert_same_pixels(made.images, expected)
    assert made.images.dtype == np.uint8
    assert (made.seeds, made.labels) == ((5, 3), (2, 0))
    assert made.model_id == generator.model_id


@BOTH
def test_numbers_may_be_numpys(ask: Ask, url: str, generator: OnnxGenerator) -> None:
    made: Generated = ask(
        url, "generate", np.array([5.0, 3.0]), labels=np.array([2, 0], np.uint8), truncation=np.float32(0.5)
    )
    assert (made.seeds, made.labels) == ((5, 3), (2, 0))
    assert len(ask(url, "generate", count=np.int64(2), labels=np.int64(1)).images) == 2
    assert Image.open(io.BytesIO(ask(url, "image", np.uint32(7), size=np.int16(16), format="jpg"))).format == "JPEG"
    frames = ask(
        url, "interpolate", format="npy", seeds=np.arange(2), steps=np.int8(2), loop=np.True_, labels=np.str_("cat")
    )
    assert len(frames) == 4
    latents, _ = generator.latent_space.sample([1])
    assert ask(url, "generate", latents=latents.astype(np.float64), labels=np.array("eel")).labels == (2,)


@BOTH
def test_random_images_come_with_the_seeds_that_make_them_again(ask: Ask, url: str) -> None:
    made: Generated = ask(url, "generate", count=3)
    assert len(made.seeds) == 3
    again: Generated = ask(url, "generate", made.seeds)
    assert_same_pixels(again.images, made.images)
    assert again.labels == made.labels


@BOTH
def test_latents_give_the_models_images(ask: Ask, url: str, generator: OnnxGenerator) -> None:
    latents, _ = generator.latent_space.sample([1, 2])
    made: Generated = ask(url, "generate", latents=latents.tolist(), labels=["dog", 2], truncation=0.25, model="tiny")
    assert_same_pixels(made.images, generator.images(generator.latent_space.truncate(latents, 0.25), [1, 2]))
    assert (made.seeds, made.labels) == (None, (1, 2))


@BOTH
@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
def test_one_image_comes_as_a_file_of_the_size_asked_for(
    ask: Ask, url: str, generator: OnnxGenerator, format: str
) -> None:
    content = ask(url, "image", 7, label="dog", size=16, format=format, model=generator.model_id)
    assert Image.open(io.BytesIO(content)).format == format.upper()
    expected, _ = generator.generate([7], np.array([1]))
    if format != "jpeg":  # which loses some of it
        assert_same_pixels(pixels(content), expected[0].repeat(2, axis=0).repeat(2, axis=1))


@BOTH
def test_an_interpolation_comes_as_frames_or_as_a_film(ask: Ask, url: str, generator: OnnxGenerator) -> None:
    latents, _ = generator.latent_space.sample([1, 2])
    frames = ask(url, "interpolate", format="npy", seeds=range(1, 3), labels="cat", steps=4)
    assert len(frames) == 5
    assert_same_pixels(frames[[0, 4]], generator.images(latents, [0, 0]))
    of_latents = ask(url, "interpolate", format="npy", latents=latents, labels=0, steps=4, path="slerp")
    assert_same_pixels(of_latents, frames)
    film = ask(url, "interpolate", seeds=[1, 2], labels="cat", steps=2, loop=True, size=32, fps=10)
    assert Image.open(io.BytesIO(film)).format == "GIF"
    assert Image.open(io.BytesIO(film)).size == (32, 32)
    strip = pixels(ask(url, "interpolate", format="png", seeds=[1, 2], labels="cat", steps=4))
    assert strip.shape[1] > 4 * strip.shape[0]


@BOTH
def test_models_describe_themselves(ask: Ask, url: str, generator: OnnxGenerator) -> None:
    described = ask(url, "model")
    assert described.card == generator.card
    assert (described.name, described.sha256) == ("tiny", generator.sha256)
    assert described.limits.max_images == MAX_IMAGES
    assert ask(url, "model", generator.model_id) == described
    assert [(model.name, model.default) for model in ask(url, "models").models] == [("tiny", True)]


@BOTH
@pytest.mark.parametrize(
    ("status", "sentence", "loc", "options"),
    [
        (400, 'did you mean "dog"?', ["labels"], {"seeds": [1], "labels": "doge"}),
        (400, f"a request may be for {MAX_IMAGES} images", ["seeds"], {"seeds": range(MAX_IMAGES + 1)}),
        (404, 'there is no model "tinny" here', None, {"seeds": [1], "model": "tinny"}),
        (401, "needs a key", None, {"seeds": [1], "key": None}),
        (403, "this key is not known", None, {"seeds": [1], "key": "another"}),
    ],
)
def test_a_refusal_is_an_error_with_the_services_sentence(
    ask: Ask, url: str, status: int, sentence: str, loc: list[str] | None, options: dict[str, Any]
) -> None:
    with pytest.raises(ServerError) as refused:
        ask(url, "generate", **options)
    assert refused.value.status == status
    assert sentence in str(refused.value)
    assert refused.value.sentence == str(refused.value)
    if loc is not None:
        assert refused.value.detail[0].loc == loc
    assert isinstance(refused.value, MintError)


@BOTH
@pytest.mark.parametrize(
    ("method", "options", "sentence"),
    [
        ("generate", {}, "exactly one of seeds, count, latents; you gave none of them"),
        ("generate", {"seeds": [1], "count": 2}, "you gave seeds and count"),
        ("interpolate", {"seeds": [1, 2], "latents": [[0.0], [1.0]]}, "you gave seeds and latents"),
        ("generate", {"latents": [1.0, 2.0]}, "latents are rows of finite numbers"),
        ("generate", {"latents": [[np.nan]]}, "latents are rows of finite numbers"),
        ("generate", {"latents": [[1e300]]}, "latents are rows of finite numbers"),
        ("generate", {"latents": [[1.0], [1.0, 2.0]]}, "latents are rows of finite numbers"),
        ("generate", {"latents": "rows"}, "latents are rows of finite numbers"),
        ("generate", {"seeds": [7.9]}, "seeds: 7.9 is not a whole number"),
        ("generate", {"seeds": ["7"]}, "seeds: '7' is not a number"),
        ("generate", {"seeds": "123"}, "seeds is a list of whole numbers"),
        ("generate", {"seeds": 7}, "seeds is a list of whole numbers"),
        ("generate", {"seeds": [1], "labels": [1.9]}, "labels: 1.9 is not a whole number"),
        ("generate", {"seeds": [1], "labels": "\ud800"}, "this request cannot be written"),
        ("generate", {"count": 2.5}, "count: 2.5 is not a whole number"),
        ("generate", {"seeds": [1], "truncation": np.nan}, "truncation: 'nan' is not a number"),
        ("generate", {"seeds": [1], "model": 7}, "model: '7' is not a text"),
        ("image", {"seed": 7.5}, "seed: 7.5 is not a whole number"),
        ("image", {"seed": 7, "format": "bmp"}, "no format 'bmp' here; choose one of png, jpeg, webp"),
        ("interpolate", {"seeds": [1, 2], "format": "mp3"}, "no format 'mp3' here; choose one of gif"),
        ("interpolate", {"seeds": [1, 2], "steps": 1.5}, "steps: 1.5 is not a whole number"),
    ],
)
def test_what_no_service_could_answer_is_not_sent(
    ask: Ask, method: str, options: dict[str, Any], sentence: str
) -> None:
    with scripted((500, {}, ERROR)) as server:
        with pytest.raises(InputError, match=sentence):
            ask(server.url, method, **options)
        assert len(server.paths) == 0


@BOTH
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("headers", [{"Retry-After": "0"}, {}])
def test_a_busy_service_is_asked_again(ask: Ask, status: int, headers: dict[str, str]) -> None:
    with scripted((status, headers, ERROR), (200, {}, NO_MODELS)) as server:
        assert ask(server.url, "models").models == []
        assert len(server.paths) == 2


@BOTH
def test_a_service_that_asks_for_more_patience_than_there_is_is_an_error_at_once(ask: Ask) -> None:
    with scripted((429, {"Retry-After": "60"}, ERROR)) as server:
        with pytest.raises(ServerError, match="try again") as refused:
            ask(server.url, "models", patience=5)
        assert refused.value.status == 429
        assert len(server.paths) == 1


@BOTH
def test_patience_ends(ask: Ask) -> None:
    with scripted((503, {"Retry-After": "0"}, ERROR)) as server:
        with pytest.raises(ServerError) as refused:
            ask(server.url, "models", patience=1)
        assert refused.value.status == 503
        assert 1 <= len(server.paths) <= 3


@BOTH
@pytest.mark.parametrize("answer", [(500, {"Retry-After": "0"}, ERROR), (504, {}, ERROR), None])
def test_what_may_have_been_carried_out_is_not_asked_again(ask: Ask, answer: Any) -> None:
    with scripted(answer) as server:
        with pytest.raises((ServerError, NoResponseError)):
            ask(server.url, "generate", [7])
        assert len(server.paths) == 1


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@BOTH
def test_a_service_that_starts_a_little_later_is_waited_for(ask: Ask) -> None:
    port = free_port()
    answers: list[Any] = []
    asking = threading.Thread(target=lambda: answers.append(ask(f"http://127.0.0.1:{port}", "models")))
    asking.start()
    asking.join(0.3)
    with scripted((200, {}, NO_MODELS), port=port):
        asking.join()
    assert [answer.models for answer in answers] == [[]]


@BOTH
def test_a_service_that_is_not_there_is_named(ask: Ask) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(NoResponseError, match=f"no answer from {address}/generate .*; check the address") as error:
        ask(address, "generate", [7], patience=0)
    assert "\n" not in str(error.value)


@BOTH
@pytest.mark.parametrize(
    ("answer", "status", "sentence"),
    [
        (
            (200, {"Content-Type": "text/html"}, b"<h1>Welcome</h1>"),
            200,
            "does not answer as this version of Mint does",
        ),
        ((200, {}, b'{"models": 7}'), 200, "does not answer as this version of Mint does"),
        ((502, {"Content-Type": "text/html"}, b"<h1>Bad Gateway</h1>"), 502, "answered 502 Bad Gateway"),
        ((301, {"Location": "/elsewhere"}, b""), 301, "answered 301 Moved Permanently"),
    ],
)
def test_an_answer_that_is_not_mints_is_named(
    ask: Ask, answer: tuple[int, dict[str, str], bytes], status: int, sentence: str
) -> None:
    with scripted(answer) as server:
        with pytest.raises(ServerError, match=sentence) as refused:
            ask(server.url, "models")
        assert refused.value.status == status


@BOTH
@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:3000", "mint", "ftp://mint", "http://", "http://mint:port", "", "http://mint:99999", "http://xn--/"],
)
def test_an_address_that_cannot_be_one_is_refused(ask: Ask, address: str) -> None:
    with pytest.raises(InputError, match="write it as http://host:3000"):
        ask(address, "models")


@BOTH
@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("http://mint", "secret\n"),
        ("http://mint", " secret"),
        ("http://mint", "sécret"),
        ("http://mint", ""),
        ("ftp://name:secret@mint", None),
        ("http://name:secret@mint", "key"),
        ("http://name:secret@127.0.0.1:1", None),
    ],
)
def test_no_error_shows_a_secret(ask: Ask, address: str, key: str | None) -> None:
    with pytest.raises((InputError, NoResponseError)) as error:
        ask(address, "models", key=key, patience=0)
    assert "cret" not in str(error.value)
    assert "\n" not in str(error.value)


@BOTH
def test_a_user_name_in_the_address_is_sent_to_the_proxy_that_asks_for_it(ask: Ask) -> None:
    with scripted((200, {}, NO_MODELS)) as server:
        ask(server.url.replace("//", "//name:secret@"), "models", key=None)
        assert server.authorizations == ["Basic bmFtZTpzZWNyZXQ="]


@BOTH
@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"ALL_PROXY": "socks5://127.0.0.1:1"}, "ALL_PROXY names a SOCKS proxy.* add 127.0.0.1 to NO_PROXY"),
        ({"HTTP_PROXY": "ftp://127.0.0.1"}, "HTTP_PROXY is not the address of a proxy"),
        ({"HTTP_PROXY": "http://me:secret@mint:port"}, "HTTP_PROXY is not the address of a proxy"),
        ({"SSL_CERT_FILE": "/nowhere.pem"}, "SSL_CERT_FILE names '/nowhere.pem'.*No such file"),
        ({"SSL_CERT_FILE": __file__}, "SSL_CERT_FILE names .*no certificates in PEM form"),
        ({"SSL_CERT_DIR": __file__}, "SSL_CERT_DIR names .*Not a directory"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], sentence: str
) -> None:
    environment(monkeypatch, variables)
    with pytest.raises(InputError, match=sentence) as error:
        ask("http://127.0.0.1:1", "models")
    assert "secret" not in str(error.value)


def environment(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    """Sets variables, and no other proxy or certificates than theirs."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@BOTH
def test_a_proxy_of_the_environment_is_asked(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted((200, {}, NO_MODELS)) as proxy:
        environment(monkeypatch, {"HTTP_PROXY": proxy.url.removeprefix("http://")})
        ask("http://mint.example:3000", "models")
        assert proxy.paths == ["http://mint.example:3000/models"]


@BOTH
@pytest.mark.parametrize("no_proxy", ["127.0.0.0/8", "[::1],127.0.0.1", "*", "::1, 127.0.0.1"])
def test_a_service_that_no_proxy_names_is_asked_directly(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, no_proxy: str
) -> None:
    with scripted((200, {}, NO_MODELS)) as server:
        environment(monkeypatch, {"ALL_PROXY": "socks5://127.0.0.1:1", "NO_PROXY": no_proxy})
        assert ask(server.url, "models").models == []


@pytest.mark.parametrize(
    ("entry", "address", "covered"),
    [
        ("example.com", "http://mint.example.com", True),
        (".example.com", "http://example.com", True),
        ("*.example.com", "http://mint.example.com", True),
        ("example.com", "http://anexample.com", False),
        ("EXAMPLE.com:3000", "http://example.com:3000", True),
        ("example.com:3000", "http://example.com", False),
        ("example.com:443", "https://example.com", True),
        ("::1", "http://[::1]:3000", True),
        ("[::1]:3000", "http://[::1]:3000", True),
        ("[::1]:3001", "http://[::1]:3000", False),
        ("fd00::/8", "http://[fd12::1]", True),
        ("10.0.0.0/8", "http://10.1.2.3:3000", True),
        ("10.0.0.0/8", "http://11.1.2.3:3000", False),
        ("10.0.0.0/8", "http://mint", False),
        ("", "http://mint", False),
        ("[", "http://mint", False),
    ],
)
def test_no_proxy_is_read_as_curl_reads_it(entry: str, address: str, covered: bool) -> None:
    assert bypasses(entry, httpx.URL(address)) == covered


def test_one_client_serves_one_event_loop_after_another() -> None:
    with scripted((200, {}, NO_MODELS)) as server:
        mint = AsyncMintClient(server.url)
        assert [asyncio.run(mint.models()).models for _ in range(3)] == [[], [], []]
        asyncio.run(mint.close())


@BOTH
def test_an_answer_that_takes_longer_than_the_time_limit_is_an_error(ask: Ask) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(NoResponseError, match="no answer from"):
            ask(address, "models", timeout=0.2)


@BOTH
def test_a_sentence_about_an_answer_leaves_the_query_out(ask: Ask) -> None:
    with scripted((502, {"Content-Type": "text/html"}, b"")) as server:
        with pytest.raises(ServerError) as refused:
            ask(server.url, "image", 7, label="boot" * 1000)
        assert str(refused.value) == f"{server.url}/images/7.png answered 502 Bad Gateway"


@BOTH
def test_a_service_below_a_path_is_found_there(ask: Ask) -> None:
    with scripted((200, {}, NO_MODELS)) as server:
        ask(f"{server.url}/behind/a/proxy/", "models")
        assert server.paths == ["/behind/a/proxy/models"]

"""The README's requests work with the clients that people have, directly and through nginx as Debian ships it."""

import io
import json
import os
import re
import shlex
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serving.http.auth import key_hash
from tests.interop.clients import Answer, Client, Request, aiohttp_client, java_client, node_client, urllib_client
from tests.interop.nginx import nginx_before
from tests.live_service import ROOT, LiveService, live_service
from training import paths

KEY = "a key for tests"
README_ADDRESS = "http://127.0.0.1:3000"
# nginx lies outside of the search path of those who are not root.
os.environ["PATH"] += os.pathsep + "/usr/sbin"


def needs(program: str) -> pytest.MarkDecorator:
    """Skips where a program is missing."""
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed: make system")


CLIENTS = [
    pytest.param(urllib_client, id="urllib"),
    pytest.param(aiohttp_client, id="aiohttp"),
    pytest.param(node_client, id="node", marks=needs("node")),
    pytest.param(java_client, id="java", marks=needs("javac")),
]
WAYS = ["directly", pytest.param("nginx", marks=needs("nginx"))]


def readme_requests() -> list[Request]:
    """The requests that the README makes with curl."""
    readme = (ROOT / "README.md").read_text()
    requests = []
    for line in re.findall(rf"^curl .*{re.escape(README_ADDRESS)}.*$", readme, re.MULTILINE):
        words = shlex.split(line)
        url = next(word for word in words if word.startswith(README_ADDRESS))
        headers = dict(words[i + 1].split(": ") for i, word in enumerate(words) if word == "-H")
        body = next((words[i + 1].encode() for i, word in enumerate(words) if word == "-d"), b"")
        requests.append(Request("POST" if body else "GET", url.removeprefix(README_ADDRESS), headers, body))
    return requests


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    """The service with the committed model."""
    with live_service(ROOT / paths.MODEL, tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture(scope="module")
def addresses(service: LiveService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The service's own address, and nginx's where there is one."""
    directly = str(service.client.base_url).rstrip("/")
    if shutil.which("nginx") is None:
        yield {"directly": directly}
        return
    with nginx_before(directly, tmp_path_factory.mktemp("nginx")) as address:
        yield {"directly": directly, "nginx": address}


def pictures(answer: Answer) -> list[Image.Image]:
    """Every picture in an answer."""
    kind = answer.headers["content-type"].partition(";")[0]
    if kind == "application/zip":
        with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
            return [Image.open(io.BytesIO(archive.read(name))) for name in archive.namelist()]
    if kind == "application/x-npy":
        return [Image.fromarray(array[:, :, 0]) for array in np.load(io.BytesIO(answer.body))]
    return [Image.open(io.BytesIO(answer.body))]


def check(request: Request, answer: Answer) -> None:
    """Raises unless an answer is what the README says of its request."""
    if b"Ancle" in request.body:
        assert answer.status == 400
        assert "Ankle boot" in json.loads(answer.body)["error"]
    elif request.path == "/model":
        assert answer.status == 200
        assert "card" in json.loads(answer.body)
    else:
        assert answer.status == 200, answer.body[:300]
        assert all(np.asarray(picture.convert("L")).std() > 1 for picture in pictures(answer))


def test_the_readme_has_requests_of_each_kind() -> None:
    assert {request.path.partition("?")[0] for request in readme_requests()} >= {
        "/generate",
        "/images/7.png",
        "/interpolate",
        "/model",
    }


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("client", CLIENTS)
def test_the_readmes_requests_are_answered(client: Client, way: str, addresses: dict[str, str]) -> None:
    many = Request(
        "POST",
        "/generate",
        {"Content-Type": "application/json"},
        json.dumps({"seeds": [*range(0, 500, 2)], "format": "npy"}).encode(),
    )
    requests = [*readme_requests(), many]  # whose seeds and labels are long lists
    answers = client(addresses[way], requests)
    assert len(answers) == len(requests)
    for request, answer in zip(requests, answers, strict=True):
        check(request, answer)
    assert len(pictures(answers[-1])) == 250
    assert max(map(len, answers[-1].headers.values())) <= 4096  # nginx takes a head of 4 KB or 8 KB


@needs("nginx")
def test_a_cache_keeps_pictures_and_asks_again_by_their_tag(addresses: dict[str, str], service: LiveService) -> None:
    model = service.client.get("/model").json()["model_id"]
    request = Request("GET", f"/images/7.png?model={model}")
    first, second = urllib_client(addresses["nginx"], [request, request])
    assert (first.headers["x-cache"], second.headers["x-cache"]) == ("MISS", "HIT")
    assert second.body == first.body
    tag = {"If-None-Match": first.headers["etag"]}
    (unchanged,) = urllib_client(addresses["nginx"], [Request("GET", request.path, tag)])
    assert (unchanged.status, unchanged.body) == (304, b"")


@needs("nginx")
def test_a_cache_keeps_nothing_that_needed_a_key(model_path: Path, tmp_path: Path) -> None:
    with live_service(model_path, tmp_path / "service", MINT_API_KEYS=key_hash(KEY)) as keyed:
        (tmp_path / "nginx").mkdir()
        with nginx_before(str(keyed.client.base_url).rstrip("/"), tmp_path / "nginx") as address:
            key = {"Authorization": f"Bearer {KEY}"}
            model = json.loads(urllib_client(address, [Request("GET", "/model", key)])[0].body)["model_id"]
            path = f"/images/7.png?model={model}"
            answers = urllib_client(address, [Request("GET", path, key), Request("GET", path)])
    assert [answer.status for answer in answers] == [200, 401]

"""Interoperability: the README's requests with common HTTP clients, directly and through nginx."""

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
from tests.interop.clients import Client, Request, Response, aiohttp_client, java_client, node_client, urllib_client
from tests.interop.nginx import nginx_proxy
from tests.live_service import ROOT, LiveService, live_service
from training import paths

KEY = "a key for tests"
README_ADDRESS = "http://127.0.0.1:3000"
# nginx is not in the PATH of users other than root.
os.environ["PATH"] += os.pathsep + "/usr/sbin"


def needs(program: str) -> pytest.MarkDecorator:
    """Skip if a program is missing."""
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed: make system")


CLIENTS = [
    pytest.param(urllib_client, id="urllib"),
    pytest.param(aiohttp_client, id="aiohttp"),
    pytest.param(node_client, id="node", marks=needs("node")),
    pytest.param(java_client, id="java", marks=needs("javac")),
]
ROUTES = ["direct", pytest.param("nginx", marks=needs("nginx"))]


def readme_requests() -> list[Request]:
    """Requests of the README's curl commands."""
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
    """Addresses of the service and, if installed, of nginx in front of it."""
    direct = str(service.client.base_url).rstrip("/")
    if shutil.which("nginx") is None:
        yield {"direct": direct}
        return
    with nginx_proxy(direct, tmp_path_factory.mktemp("nginx")) as address:
        yield {"direct": direct, "nginx": address}


def decode_images(response: Response) -> list[Image.Image]:
    """Decode every image of a response."""
    media_type = response.headers["content-type"].partition(";")[0]
    if media_type == "application/zip":
        with zipfile.ZipFile(io.BytesIO(response.body)) as archive:
            return [Image.open(io.BytesIO(archive.read(name))) for name in archive.namelist()]
    if media_type == "application/x-npy":
        return [Image.fromarray(array[:, :, 0]) for array in np.load(io.BytesIO(response.body))]
    return [Image.open(io.BytesIO(response.body))]


def assert_documented(request: Request, response: Response) -> None:
    """Assert that a response is what the README says of its request."""
    if b"Ancle" in request.body:
        assert response.status == 400
        assert "Ankle boot" in json.loads(response.body)["error"]
    elif request.path == "/model":
        assert response.status == 200
        assert "card" in json.loads(response.body)
    else:
        assert response.status == 200, response.body[:300]
        assert all(np.asarray(image.convert("L")).std() > 1 for image in decode_images(response))


def test_the_readme_has_requests_to_each_route() -> None:
    assert {request.path.partition("?")[0] for request in readme_requests()} >= {
        "/generate",
        "/images/7.png",
        "/interpolate",
        "/model",
    }


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("client", CLIENTS)
def test_the_readmes_requests_succeed(client: Client, route: str, addresses: dict[str, str]) -> None:
    many = Request(
        "POST",
        "/generate",
        {"Content-Type": "application/json"},
        json.dumps({"seeds": [*range(0, 500, 2)], "format": "npy"}).encode(),
    )
    requests = [*readme_requests(), many]  # long headers: the seeds and labels
    responses = client(addresses[route], requests)
    assert len(responses) == len(requests)
    for request, response in zip(requests, responses, strict=True):
        assert_documented(request, response)
    assert len(decode_images(responses[-1])) == 250
    assert max(map(len, responses[-1].headers.values())) <= 4096  # nginx limits the response head to 4 or 8 KB


@needs("nginx")
def test_a_cache_stores_images_and_revalidates_them_by_etag(addresses: dict[str, str], service: LiveService) -> None:
    model = service.client.get("/model").json()["model_id"]
    request = Request("GET", f"/images/7.png?model={model}")
    first, second = urllib_client(addresses["nginx"], [request, request])
    assert (first.headers["x-cache"], second.headers["x-cache"]) == ("MISS", "HIT")
    assert second.body == first.body
    tag = {"If-None-Match": first.headers["etag"]}
    (unchanged,) = urllib_client(addresses["nginx"], [Request("GET", request.path, tag)])
    assert (unchanged.status, unchanged.body) == (304, b"")


@needs("nginx")
def test_a_cache_does_not_store_responses_to_requests_with_a_key(model_path: Path, tmp_path: Path) -> None:
    with live_service(model_path, tmp_path / "service", MINT_API_KEYS=key_hash(KEY)) as keyed:
        (tmp_path / "nginx").mkdir()
        with nginx_proxy(str(keyed.client.base_url).rstrip("/"), tmp_path / "nginx") as address:
            key = {"Authorization": f"Bearer {KEY}"}
            model = json.loads(urllib_client(address, [Request("GET", "/model", key)])[0].body)["model_id"]
            path = f"/images/7.png?model={model}"
            responses = urllib_client(address, [Request("GET", path, key), Request("GET", path)])
    assert [response.status for response in responses] == [200, 401]

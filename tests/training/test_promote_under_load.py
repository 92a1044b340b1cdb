"""Promotion and rollback beside a running service that answers requests all the time."""

import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby

import httpx
import numpy as np
import pytest

from serving.inference.generator import OnnxGenerator
from tests.live_service import LiveService, live_service
from tests.training.project import Project, write_params
from tests.training.test_promote import GREY, candidate, constants, model
from training import promote
from training.model_versions import SERVED

CLIENTS = 3
SEED = 7
RELOAD_TIMEOUT_S = 60
POLLS_S = 4.0  # the service looks at the folder every second, and loads what two looks agree on


@dataclass
class Load:
    """What the clients saw."""

    answers: list[tuple[str, bytes]] = field(default_factory=list)  # model id and pixels, in order of arrival
    failures: list[str] = field(default_factory=list)

    def request(self, client: httpx.Client, ended: threading.Event) -> None:
        """Request the pixels of one seed until the end."""
        while not ended.is_set():
            try:
                answer = client.post("/generate", json={"seeds": [SEED], "labels": "cat", "format": "npy"})
            except httpx.HTTPError as error:
                self.failures.append(repr(error))
                continue
            if answer.status_code != 200:
                self.failures.append(answer.text)
                continue
            self.answers.append((answer.headers["x-mint-model"], np.load(io.BytesIO(answer.content)).tobytes()))

    def wait_for(self, model_id: str) -> None:
        """Wait until an answer comes from this model."""
        deadline = time.monotonic() + RELOAD_TIMEOUT_S
        while not self.answers or self.answers[-1][0] != model_id:
            assert time.monotonic() < deadline
            time.sleep(0.05)


@contextmanager
def under_load(service: LiveService) -> Iterator[Load]:
    load, ended = Load(), threading.Event()
    threads = [threading.Thread(target=load.request, args=(service.client, ended)) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def pixels() -> np.ndarray:
    """The image of the seed by the served file itself."""
    return OnnxGenerator.load(SERVED.model, "cpu", threads=1).generate([SEED], np.array([0]))[0]


def test_the_service_changes_its_model_only_with_a_promotion_and_a_rollback_and_refuses_no_request(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    write_params(project.folder)
    first = candidate(model(0))
    promote.main()
    expected = {first: pixels()}
    with live_service(SERVED.model.absolute(), project.folder / "home") as service, under_load(service) as load:
        load.wait_for(first)
        for refused in (constants(model(1), **GREY), constants(model(2), kernel=0.0)):
            candidate(refused)
            promote.main()
        candidate(model(3), diversity=1.0)
        promote.main()
        assert capsys.readouterr().out.count("NOT PROMOTED") == 3
        time.sleep(POLLS_S)
        assert {model_id for model_id, _ in load.answers} == {first}

        second = candidate(model(4))
        promote.main()
        expected[second] = pixels()
        load.wait_for(second)
        promote.rollback()
        load.wait_for(first)
        named = {known["model_id"] for known in service.client.get("/models").json()["models"]}
    assert load.failures == []
    assert named == {first}  # neither the candidate nor the history is served beside it
    for model_id, seen in set(load.answers):
        image = np.frombuffer(seen, np.uint8).reshape(expected[model_id].shape)
        assert np.abs(image.astype(int) - expected[model_id]).max() <= 1
    order = [model_id for model_id, _ in groupby(model_id for model_id, _ in load.answers)]
    assert order[0] == order[-1] == first
    assert second in order

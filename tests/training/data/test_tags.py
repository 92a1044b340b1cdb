"""Tags end to end: the networks learn single tags, the service offers their combinations."""

import numpy as np
import pytest
import torch

from serving.inference.generator import OnnxGenerator
from tests.serving.conftest import serve_model
from tests.training.project import BLUE, GREEN, RED, Project, picture, tiny, write_params
from training import export, paths, preprocess, train

COLOURS = {"red": RED, "green": GREEN, "blue": BLUE}
SHAPES = {"wide": (60, 40), "tall": (40, 60)}
COMBINATIONS = [f"{colour} + {shape}" for colour in COLOURS for shape in SHAPES if (colour, shape) != ("blue", "tall")]


@pytest.mark.parametrize("mismatched", [False, True])
def test_tags_are_learned_and_their_combinations_served(project: Project, mismatched: bool) -> None:
    rows = ["file,colour,shape"]
    for name in COMBINATIONS * 4:
        colour, shape = name.split(" + ")
        file = f"{len(rows)}.png"
        project.write({file: picture(COLOURS[colour], SHAPES[shape])})
        rows.append(f"{file},{colour},{shape}")
    project.write({"tags.csv": "\n".join(rows).encode()}, under="labels")
    data = {"source": "photos", "labels": "labels/tags.csv", "channels": 3}
    schedule = {"length": "3 epochs", "batch": 4, "sheet_epochs": [], "device": "cpu"}
    objective = {"mismatched": mismatched}
    write_params(project.folder, **tiny(data=data, train=schedule, objective=objective))
    for stage in (preprocess, train, export):
        stage.main()

    state = torch.load(paths.GENERATOR_WEIGHTS, weights_only=True)["generator"]
    assert state["latent.embedding.weight"].shape == (5, 6)  # 3 colours and 2 shapes, not 5 combinations
    generator = OnnxGenerator.load(paths.CANDIDATE_MODEL, provider="cpu")
    assert sorted(generator.card.classes) == sorted(COMBINATIONS)
    for call in serve_model(generator.path):
        body = {"seeds": [7, 7], "labels": ["red + wide", "green + tall"], "format": "npy"}
        response = call("POST", "/generate", json=body)
        assert response.status_code == 200, response.text
        one, other = np.frombuffer(response.content[-2 * 28 * 28 * 3 :], np.uint8).reshape(2, -1)
        assert not np.array_equal(one, other)
        refused = call("POST", "/generate", json={"seeds": [7], "labels": "blue + tall"})
        assert refused.status_code == 400
        assert "did you mean" in refused.json()["error"]

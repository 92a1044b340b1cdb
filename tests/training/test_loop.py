"""A run with probes: their rows, the best checkpoint, and what `train.doctor` does about a failure."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from serving.inference.generator import OnnxGenerator
from tests.training import made_up_doctor
from tests.training.made_up_doctor import FAILURE, MIRRORED, NOTHING_ELSE, OTHER_NETWORKS, SLOWER
from tests.training.project import Project, tiny, write_params
from training import export, paths, preprocess, train
from training.data.batches import TrainingData
from training.gan.trainer import GANTrainer
from training.json_lines import read_lines
from training.log_files import read_log
from training.scalars import ExplosionError
from training.torch_files import load_with_checksum

SOURCE = str(Path(__file__).parents[2] / "data/fashion-mnist-10k")
STEP = 16  # images


def configure(project: Project, steps: float, limit: int = 64, export: str = "best", **changes: Any) -> None:
    """A run of so many steps, with a probe and a checkpoint after every second one."""
    schedule = {"batch": STEP, "checkpoint_kimg": 0.032, "probe_kimg": 0.032, "keep_checkpoints": 1}
    schedule |= {"length": f"{steps * STEP / 1000} kimg", "sheet_epochs": []} | changes
    data = {"source": SOURCE, "limit": limit}
    write_params(project.folder, **tiny(data=data, train=schedule, export={"checkpoint": export}))


@pytest.fixture
def ready(project: Project) -> Project:
    """A project whose images are prepared."""
    configure(project, steps=4)
    preprocess.main()
    return project


def checkpoints() -> list[str]:
    return sorted(path.name for path in paths.RUNS.glob("*/kimg-*.pt"))


def saved() -> dict[str, Any]:
    """What training saved for `export`."""
    content: dict[str, Any] = load_with_checksum(paths.GENERATOR_WEIGHTS)
    return content


def acts() -> list[dict[str, Any]]:
    return [event for event in read_lines(paths.EVENTS) if event["event"] == "act"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a run of five steps and three probes, on enough images to hold some out."""
    folder = tmp_path_factory.mktemp("probed")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        configure(Project(folder), steps=5, limit=200)
        preprocess.main()
        train.main()
    return folder


def test_a_row_of_measurements_is_written_at_every_probe_and_at_the_end(copy: Project) -> None:
    rows = read_lines(paths.PROBES)
    assert [row["kimg"] for row in rows] == [0.032, 0.064, 0.08]
    assert "dcgan on 200 images" in paths.RUN_PAGE.read_text()
    of_steps = {"d_loss", "d_loss_std", "g_loss", "d_real", "d_fake", "d_gradient", "g_gradient"}
    of_images = {"kid", "kid_std", "precision", "recall", "diversity", "rank", "duplicates", "class_agreement"}
    of_discriminator = {"d_training_logit", "d_held_out_logit", "d_generated_logit", "d_class_accuracy", "d_weights"}
    for row in rows:
        assert of_steps | of_images | of_discriminator <= set(row)
        assert all(torch.isfinite(torch.tensor(list(row.values()))))
    assert rows[0]["kid"] != rows[1]["kid"]


def test_probes_do_not_change_what_is_trained(copy: Project) -> None:
    probed = saved()["generator"]
    configure(copy, steps=5, limit=200, probe_kimg=1000)
    train.main()
    assert len(read_lines(paths.PROBES)) == 1
    assert all(torch.equal(value, probed[name]) for name, value in saved()["generator"].items())


def best_after_four_steps(steps: int) -> float:
    return {2: 0.4, 4: 0.1, 6: 0.3}.get(steps, 0.45)


def test_the_best_checkpoint_is_kept_beside_the_newest_and_exported_when_the_last_is_clearly_worse(
    ready: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_up_doctor.install(monkeypatch, best_after_four_steps)
    configure(ready, steps=8)
    train.main()
    assert checkpoints() == ["kimg-000000.064.pt", "kimg-000000.128.pt"]
    cards = {}
    for choice in ("best", "last"):
        configure(ready, steps=8, export=choice)
        export.main()
        cards[choice] = OnnxGenerator.load(paths.CANDIDATE_MODEL, provider="cpu")
    assert cards["best"].card.images_seen == 4 * STEP
    assert cards["last"].card.images_seen == 8 * STEP
    # What a run of four steps would have exported, to the bit.
    shutil.rmtree(paths.RUNS)
    configure(ready, steps=4)
    train.main()
    export.main()
    alone = OnnxGenerator.load(paths.CANDIDATE_MODEL, provider="cpu")
    seeds = list(range(8))
    assert (alone.generate(seeds)[0] == cards["best"].generate(seeds)[0]).all()
    assert (alone.generate(seeds)[0] != cards["last"].generate(seeds)[0]).any()


def test_the_last_checkpoint_is_exported_when_it_is_not_clearly_worse(
    ready: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_up_doctor.install(monkeypatch, lambda steps: 0.1 if steps == 4 else 0.15)  # within twice the noise of 0.05
    configure(ready, steps=8)
    train.main()
    export.main()
    assert OnnxGenerator.load(paths.CANDIDATE_MODEL, provider="cpu").card.images_seen == 8 * STEP


def worse_after(step: int) -> Callable[[int], float]:
    return lambda steps: 0.2 if steps <= step else 0.9


@pytest.mark.parametrize("mode", ["watch", "advise"])
def test_a_failure_is_named_once_and_advice_is_given_unless_the_doctor_only_watches(
    ready: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], mode: str
) -> None:
    made_up_doctor.install(monkeypatch, worse_after(2), [SLOWER])
    configure(ready, steps=8, doctor=mode)
    train.main()
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("doctor: "))
    assert line.startswith(f"doctor: {FAILURE} since 0.064 kimg (confidence 75%): kid 0.9")
    assert line.endswith("; try train.generator_lr: 0.0005") == (mode == "advise")
    assert [event["name"] for event in read_lines(paths.EVENTS)] == [FAILURE]
    assert saved()["acts"] == []


def test_healing_goes_back_to_the_best_checkpoint_and_trains_on_with_other_parameters(
    ready: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made_up_doctor.install(monkeypatch, lambda steps: 0.9 if steps in (4, 6) else 0.2, [SLOWER, MIRRORED])
    flips = []
    batch = TrainingData.batch

    def recorded(data: TrainingData, indices: Any, horizontal_flip: float, rotation: float) -> Any:
        flips.append(horizontal_flip)
        return batch(data, indices, horizontal_flip, rotation)

    monkeypatch.setattr(TrainingData, "batch", recorded)
    configure(ready, steps=8, doctor="heal")
    train.main()
    assert "healing: train.generator_lr: 0.0005" in capsys.readouterr().out
    assert [(act["kimg"], act["rung"], act["back_to"]) for act in acts()] == [
        (0.064, "slower", 0.032),
        (0.096, "mirror", 0.032),
    ]
    assert flips == [0.0] * 6 + [1.0] * 2
    assert saved()["images_seen"] == 8 * STEP
    export.main()
    trained = OnnxGenerator.load(paths.CANDIDATE_MODEL, provider="cpu").card.params["train"]
    assert (trained["generator_lr"], trained["horizontal_flip"]) == (5e-4, 1.0)


def test_other_networks_are_trained_exported_and_shown(ready: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    made_up_doctor.install(monkeypatch, lambda steps: 0.9 if steps == 4 else 0.2, [OTHER_NETWORKS])
    configure(ready, steps=8, doctor="heal")
    train.main()
    assert [act["back_to"] for act in acts()] == [0.032]
    (last,) = paths.RUNS.glob("*/kimg-000000.128.pt")
    assert load_with_checksum(last)["state"]["trainer"]["earlier_images"] == -4 * STEP
    export.main()
    card = OnnxGenerator.load(paths.CANDIDATE_MODEL, provider="cpu").card
    assert (card.latent_dim, card.classes) == (16, ())


def test_other_networks_get_the_weights_that_fit(ready: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    made_up_doctor.install(monkeypatch, lambda steps: 0.9 if steps == 4 else 0.2, [OTHER_NETWORKS])
    still = {"generator_lr": 1e-9, "discriminator_lr": 1e-9}
    configure(ready, steps=8, doctor="heal", keep_checkpoints=9, **still)
    train.main()
    before, after = (
        load_with_checksum(next(paths.RUNS.glob(f"*/kimg-{kimg}.pt")))["state"]["trainer"]["discriminator"]
        for kimg in ("000000.032", "000000.128")
    )
    common = [name for name in before.keys() & after.keys() if before[name].shape == after[name].shape]
    assert len(common) > 2
    for name in common:
        assert torch.allclose(before[name], after[name], atol=1e-6)


def test_a_suspicion_changes_only_what_is_far_out_of_proportion(
    ready: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made_up_doctor.install(monkeypatch, lambda steps: 0.45 if steps == 4 else 0.2, [SLOWER, MIRRORED])
    for doctor, rungs in (("advise", []), ("heal", ["mirror"])):
        shutil.rmtree(paths.RUNS, ignore_errors=True)
        configure(ready, steps=8, doctor=doctor)
        train.main()
        assert [act["rung"] for act in acts()] == rungs
        assert ("doctor: " in capsys.readouterr().out) == bool(rungs)


def test_a_failure_that_spoils_no_weights_goes_on_with_the_best_of_them(
    ready: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_up_doctor.install(monkeypatch, lambda steps: 0.9 - 0.05 * steps, [SLOWER])
    monkeypatch.setattr("tests.training.made_up_doctor.FAILURE", "discriminator overfits")
    configure(ready, steps=8, doctor="heal")
    train.main()
    assert [(act["kimg"], act["back_to"]) for act in acts()] == [(0.032, 0.032)]


def test_networks_do_not_start_again_when_half_of_the_run_is_over(
    ready: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_up_doctor.install(monkeypatch, lambda steps: 0.9 if steps == 6 else 0.2, [OTHER_NETWORKS, SLOWER])
    configure(ready, steps=8, doctor="heal")
    train.main()
    assert [act["rung"] for act in acts()] == ["slower"]


def test_nothing_is_changed_at_the_end_of_a_run_and_a_longer_one_changes_it_first(
    ready: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_up_doctor.install(monkeypatch, lambda steps: 0.9 if steps == 4 else 0.2, [OTHER_NETWORKS])
    configure(ready, steps=8, doctor="heal")
    train.main()
    expected = reports()
    shutil.rmtree(paths.RUNS)
    configure(ready, steps=4, doctor="heal")
    train.main()
    assert acts() == saved()["acts"] == []
    configure(ready, steps=8, doctor="heal")
    train.main()
    assert reports() == expected
    assert [act["kimg"] for act in acts()] == [0.064]


def explode_at(patch: pytest.MonkeyPatch, steps: int) -> None:
    """Let a loss be no number at one step, the first time."""
    step, exploded = GANTrainer.step, []

    def exploding(gan: GANTrainer, batches: Any) -> dict[str, torch.Tensor]:
        scalars = step(gan, batches)
        if gan.steps == steps and not exploded:
            exploded.append(steps)
            scalars["g_loss"] = torch.tensor(float("nan"))
        return scalars

    patch.setattr(GANTrainer, "step", exploding)


def test_a_loss_that_is_no_number_ends_the_run_with_one_sentence(
    ready: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_up_doctor.install(monkeypatch, lambda steps: 0.2, [SLOWER])
    explode_at(monkeypatch, 3)
    configure(ready, steps=8)
    with pytest.raises(ExplosionError, match=r"after 0\.1 kimg a loss is not a number; lower .*, or set") as error:
        train.main()
    assert "\n" not in str(error.value)
    assert checkpoints() == ["kimg-000000.032.pt"]
    assert [event["name"] for event in read_lines(paths.EVENTS)] == ["explosion"]
    assert not paths.GENERATOR_WEIGHTS.exists()


@pytest.mark.parametrize(
    ("rung", "words"),
    [(SLOWER, "; healing: train.generator_lr: 0.0005\n"), (NOTHING_ELSE, "; healing: the same once more\n")],
)
def test_a_loss_that_is_no_number_is_healed_from_the_checkpoint_before(
    ready: Project,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    rung: tuple[str, dict[str, Any]],
    words: str,
) -> None:
    made_up_doctor.install(monkeypatch, lambda steps: 0.2, [rung])
    explode_at(monkeypatch, 3)
    configure(ready, steps=8, doctor="heal")
    train.main()
    assert [(act["failure"], act["back_to"]) for act in acts()] == [("explosion", 0.032)]
    assert words in capsys.readouterr().out
    assert saved()["images_seen"] == 8 * STEP
    assert all(torch.isfinite(value).all() for value in saved()["generator"].values())


def test_with_nothing_left_to_change_an_explosion_ends_a_run_that_heals(
    ready: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_up_doctor.install(monkeypatch, lambda steps: 0.2)
    explode_at(monkeypatch, 3)
    configure(ready, steps=8, doctor="heal")
    with pytest.raises(ExplosionError) as error:
        train.main()
    assert "train.doctor" not in str(error.value)


def reports() -> dict[str, Any]:
    """Everything that a run leaves in reports/train, but for its length, and its weights."""
    files = {path.name: path.read_text() for path in paths.TRAIN_REPORT.rglob("*") if path.suffix in (".jsonl", ".tsv")}
    weights = {name: value.tolist() for name, value in saved()["generator"].items()}
    return {"files": files, "weights": json.dumps(weights)}


@pytest.mark.parametrize(
    ("failure", "kid", "changed_at", "stops"),
    [
        (FAILURE, lambda steps: 0.9 if steps in (4, 8) else 0.2, (0.064, 0.128), (3, 4, 5, 8, 9, 10)),
        ("discriminator overfits", lambda steps: 0.9 - 0.05 * steps, (0.032, 0.064), (1, 2, 3, 4, 5, 10)),
    ],
    ids=["from a checkpoint before", "from the best, which is the present state"],
)
def test_a_resumed_run_that_heals_equals_an_uninterrupted_one(
    ready: Project,
    monkeypatch: pytest.MonkeyPatch,
    failure: str,
    kid: Callable[[int], float],
    changed_at: tuple[float, float],
    stops: tuple[int, ...],
) -> None:
    monkeypatch.setattr("training.loop.LOG_EVERY_IMAGES", 2 * STEP)
    monkeypatch.setattr("training.loop.LATEST_RESTART", 1.0)  # shorter lengths stand for interruptions here
    made_up_doctor.install(monkeypatch, kid, [SLOWER, OTHER_NETWORKS])
    monkeypatch.setattr("tests.training.made_up_doctor.FAILURE", failure)
    configure(ready, steps=10, doctor="heal")
    train.main()
    expected = reports()
    assert [(act["kimg"], act["rung"]) for act in acts()] == list(
        zip(changed_at, ["slower", "larger latent"], strict=True)
    )
    shutil.rmtree(paths.RUNS)
    for steps in stops:  # before, at and after each change
        configure(ready, steps=steps, doctor="heal")
        train.main()
    assert reports() == expected


def test_a_run_resumed_right_after_a_change_equals_an_uninterrupted_one(
    ready: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.loop.LOG_EVERY_IMAGES", 2 * STEP)
    rungs = [SLOWER, MIRRORED, ("momentum", {"train.beta1": 0.3})]
    made_up_doctor.install(monkeypatch, lambda steps: 0.7 + 0.05 * steps, rungs)
    monkeypatch.setattr("tests.training.made_up_doctor.FAILURE", "discriminator overfits")
    configure(ready, steps=10, doctor="heal", keep_checkpoints=9)
    train.main()
    expected = reports()
    assert [(act["kimg"], act["back_to"]) for act in acts()] == [(0.032, 0.032), (0.064, 0.032), (0.096, 0.032)]
    for checkpoint in paths.RUNS.glob("*/kimg-*.pt"):
        if checkpoint.name > "kimg-000000.064.pt":
            checkpoint.unlink()
    train.main()
    assert reports() == expected


def test_tensorboard_event_files_hold_the_curves_and_the_probes_each_step_once(
    ready: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.loop.LOG_EVERY_IMAGES", 2 * STEP)
    made_up_doctor.install(monkeypatch, lambda steps: 1 / steps)
    for steps in (4, 8):
        configure(ready, steps=steps, loggers=["tensorboard"])
        train.main()
    (folder,) = paths.RUNS.glob("*/tensorboard")
    trace = read_log(folder, {"kid": "probe/kid", "d_loss": "train/d_loss"}).trace
    assert trace.kimg.tolist() == [0.032, 0.064, 0.096, 0.128]
    assert trace["kid"] == pytest.approx([1 / 2, 1 / 4, 1 / 6, 1 / 8], rel=1e-5)
    rows = (paths.TRAIN_REPORT / "plots/metrics/d_loss.tsv").read_text().splitlines()[1:]
    assert trace["d_loss"] == pytest.approx([float(row.split("\t")[1]) for row in rows], rel=1e-5)

"""Setup of a training run: its parameters, data, budget and start, and the trainers that are made from them."""

from dataclasses import dataclass

from lightning_fabric import Fabric

from training.budget import TrainingBudget
from training.data.batches import TrainingData, class_tag_matrix, load_training_data
from training.data.manifest import Manifest
from training.gan.checkpoint import fingerprint
from training.gan.projected_trainer import make_trainer
from training.gan.start import describe, start_networks
from training.gan.trainer import GANTrainer
from training.gan.training_state import StartError, StateDescription, TrainingState
from training.params import Params


@dataclass(frozen=True)
class Setup:
    """Everything that a run is trained with. params: as params.yaml has them, before any healing."""

    params: Params
    manifest: Manifest
    fabric: Fabric
    data: TrainingData
    budget: TrainingBudget
    start: TrainingState | None  # of an earlier run, whose weights this one starts from

    @classmethod
    def of(cls, params: Params, manifest: Manifest, fabric: Fabric, start: TrainingState | None) -> "Setup":
        """Load the prepared images. Raises MintError for fewer of them than a batch."""
        data = load_training_data(manifest, fabric.device, params.train.batch)
        return cls(params, manifest, fabric, data, TrainingBudget.of(params.train, len(data)), start)

    @property
    def name(self) -> str:
        """Fingerprint of the run, which names its folder."""
        return fingerprint(self.params, self.manifest, self.start.sha256 if self.start else None)

    def trainer(self, params: Params) -> GANTrainer:
        """New networks for these parameters, which a remedy may have changed, without the weights of `start`."""
        return make_trainer(params, class_tag_matrix(params, self.manifest), self.fabric)

    def started_trainer(self, params: Params, earlier: TrainingState | None = None) -> tuple[GANTrainer, str]:
        """New networks with the weights of `start`, as far as they fit, and one line on what was taken; "" for none.

        earlier: a state of this run in place of `start`. Raises StartError where nothing fits in the networks that
        params.yaml describes; other networks start fresh.
        """
        gan, start = self.trainer(params), earlier or self.start
        if start is None:
            return gan, ""
        try:
            return gan, start_networks(gan, start, self.describe(gan))
        except StartError:
            if params.network == self.params.network:
                raise
            return self.trainer(params), ""

    def describe(self, gan: GANTrainer) -> StateDescription:
        """Description of the states of this run, with the networks that it has now."""
        return describe(gan, self.manifest, self.start, self.name)

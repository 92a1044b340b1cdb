"""State of one process that its routes share: settings, models and queue."""

from dataclasses import dataclass, field

from serving.inference.batcher import Batcher
from serving.inference.generator import OnnxGenerator
from serving.inference.model_registry import ModelRegistry, NotReadyError
from serving.settings import Settings


@dataclass
class AppState:
    """Settings, models and queue; routes find it as `request.app.state.mint`."""

    settings: Settings
    models: ModelRegistry = field(init=False)
    batcher: Batcher = field(init=False)
    draining: bool = False  # after SIGTERM: requests are still served, but clients should go elsewhere

    def __post_init__(self) -> None:
        self.models = ModelRegistry(self.settings.model, self.settings.provider, self.settings.threads)
        self.batcher = Batcher(self.settings.max_queue, self.settings.max_encode)

    def check_ready(self) -> OnnxGenerator:
        """Return the default generator; raises NotReadyError while it loads, when threads fail and while draining."""
        if self.draining:
            raise NotReadyError("the server is about to stop; ask another one")
        if self.batcher.problem:
            raise NotReadyError(self.batcher.problem)
        return self.models.get()

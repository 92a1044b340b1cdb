"""What the routes answer from."""

from dataclasses import dataclass, field

from starlette.requests import Request

from serving.inference.batcher import Batcher
from serving.inference.generator import OnnxGenerator
from serving.inference.model_registry import ModelRegistry, NotReadyError
from serving.settings import Settings


@dataclass
class AppState:
    """The settings, the models and the queue of one process."""

    settings: Settings
    models: ModelRegistry = field(init=False)
    batcher: Batcher = field(init=False)
    draining: bool = False  # SIGTERM has come: what is accepted is answered, and nobody should send more

    def __post_init__(self) -> None:
        self.models = ModelRegistry(self.settings.model, self.settings.provider, self.settings.threads)
        self.batcher = Batcher(self.settings.max_queue, self.settings.max_encode)

    @property
    def body_limit(self) -> int:
        """Bytes of the largest request that any model can be asked: a body is read before it says which one.

        Raises NotReadyError while there is no default model.
        """
        latent_dims = [generator.card.latent_dim for _, generator in self.models.ready()]
        return self.settings.max_body_bytes(max(self.models.get().card.latent_dim, *latent_dims))

    def check_ready(self) -> OnnxGenerator:
        """Return the default generator; raises NotReadyError while it loads, when threads fail and while draining."""
        if self.draining:
            raise NotReadyError("the server is about to stop; ask another one")
        if self.batcher.problem:
            raise NotReadyError(self.batcher.problem)
        return self.models.get()


def app_state(request: Request) -> AppState:
    """The backend of the app that a request has come to."""
    state: AppState = request.app.state.mint
    return state

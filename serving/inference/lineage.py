"""Lineage of a model: the training states that its training was started from, in place of new weights."""

from pydantic import BaseModel, ConfigDict, Field


class Ancestor(BaseModel):
    """Training state of an earlier run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str  # fingerprint of the training run, as in ModelCard.run
    data: str  # name of its data
    data_sha256: str
    images_seen: int = Field(ge=0)  # in that run alone

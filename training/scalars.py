"""Scalars of the training steps, left on their device until they are needed: reading each would stall a GPU."""

import torch
from torch import Tensor

from serving.errors import MintError

SPREAD_OF = ("d_loss", "g_loss")  # scalars whose standard deviation is of interest too


class ExplosionError(MintError):
    """A loss or a gradient is not a finite number."""


class StepScalars:
    """Scalars of the steps since the last `clear`. saved: what `stacked` returned, to go on from."""

    def __init__(self, saved: dict[str, Tensor] | None = None) -> None:
        self._saved = saved or {}
        self._steps: list[dict[str, Tensor]] = []

    def __bool__(self) -> bool:
        return bool(self._saved or self._steps)

    def add(self, scalars: dict[str, Tensor]) -> None:
        """Collect one step's scalars."""
        self._steps.append(scalars)

    def clear(self) -> None:
        """Forget all steps."""
        self._saved, self._steps = {}, []

    def stacked(self) -> dict[str, Tensor]:
        """Scalars by name, float [steps], on the CPU. Raises ExplosionError on NaN or infinity."""
        stacked = dict(self._saved)
        for name in self._steps[0] if self._steps else ():
            added = torch.stack([step[name] for step in self._steps]).cpu()
            stacked[name] = torch.cat([stacked[name], added]) if name in stacked else added
        for name, values in stacked.items():
            if not torch.isfinite(values).all():
                raise ExplosionError(f"training exploded: {name} is not a number")
        return stacked

    def means(self) -> dict[str, float]:
        """Mean of each scalar. Raises ExplosionError on NaN or infinity."""
        return {name: values.mean().item() for name, values in self.stacked().items()}

    def statistics(self) -> dict[str, float]:
        """Mean of each scalar, and the standard deviation of the losses as `d_loss_std` and `g_loss_std`.

        Raises ExplosionError on NaN or infinity.
        """
        stacked = self.stacked()
        spreads = {f"{name}_std": stacked[name].std(correction=0).item() for name in SPREAD_OF if name in stacked}
        return {name: values.mean().item() for name, values in stacked.items()} | spreads

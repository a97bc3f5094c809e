"""The network of Algorithm 2, Q(S, A), and its exact argmax over every joint action.

Two fully connected layers: (state features, one-hot action of each device) -> hidden, ReLU -> one Q-value. The first
layer is linear in one-hot actions, so it is a sum of table rows, one per device; nothing multiplies by zeros, and the
sums over all joint actions are made from those of the first and the last devices in pieces that fit the cache. There
ReLU(a + b) = max(a, -b) + b saves a pass over them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from orchestrator.replay import Floats, Ints

BLOCK_COLUMNS = 200  # of the last devices together; with 128 units 100 kB
CHUNK_COLUMNS = 1000  # evaluated at once; with 128 units 0.5 MB, within a core's cache


class QNetwork:
    """`counts[i]` actions of device i, F state features, H hidden units. Its parameters are one vector. Mutable."""

    def __init__(self, counts: Sequence[int], features: int, hidden: int, random: np.random.Generator) -> None:
        self._counts = tuple(counts)
        self._features = features
        self._hidden = hidden
        self._first = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)
        rows = features + int(sum(counts))
        # As torch.nn.Linear: uniform within one over the root of the inputs, drawn by our generator.
        outer, inner = 1 / math.sqrt(hidden), 1 / math.sqrt(rows)
        bounds = np.concatenate([np.full((rows + 1) * hidden, inner), np.full(hidden + 1, outer)])
        bounds[-1] = 0.0
        start = random.uniform(-bounds, bounds).astype(np.float32)
        self.parameters = torch.nn.Parameter(torch.from_numpy(start))
        self._rows = rows

    def _parts(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """First layer (rows, H), its bias (H,), second layer (H,), its bias."""
        theta, hidden, end = self.parameters, self._hidden, self._rows * self._hidden
        first = theta[:end].view(self._rows, hidden)
        return first, theta[end : end + hidden], theta[end + hidden : -1], theta[-1]

    def values(self, states: Floats, actions: Ints) -> torch.Tensor:
        """(B,): Q of states (B, F) and actions (B, N), places among each device's own actions."""
        first, bias, second, last = self._parts()
        rows = torch.from_numpy(actions + (self._first + self._features))
        hidden = torch.from_numpy(states) @ first[: self._features] + first[rows].sum(dim=1) + bias
        return torch.relu(hidden) @ second + last

    def all_values(self, state: Floats) -> npt.NDArray[np.float32]:
        """(joint actions,): Q of every joint action in `state` (F,); the last device's action varies fastest."""
        with torch.no_grad():
            first, bias, second, last = self._parts()
            base = torch.from_numpy(state) @ first[: self._features] + bias
            split = self._split()
            block = self._sums(first, range(split, len(self._counts)))
            heads = self._sums(first, range(split)) + base
            found = torch.empty(len(heads), len(block))
            step = max(1, CHUNK_COLUMNS // len(block))
            room, negative = torch.empty(step, len(block), self._hidden), -block
            for start in range(0, len(heads), step):
                piece = heads[start : start + step]
                hidden = torch.maximum(piece[:, None], negative[None], out=room[: len(piece)])
                torch.mv(hidden.view(-1, self._hidden), second, out=found[start : start + step].view(-1))
            values: npt.NDArray[np.float32] = (found + (block @ second + last)).view(-1).numpy()
        return values

    def _split(self) -> int:
        """Devices from here on make the block."""
        split = len(self._counts) - 1
        while split > 0 and math.prod(self._counts[split - 1 :]) <= BLOCK_COLUMNS:
            split -= 1
        return split

    def _sums(self, first: torch.Tensor, devices: range) -> torch.Tensor:
        """(joint actions of `devices`, H): the sums of their rows."""
        sums = torch.zeros(1, self._hidden)
        for device in devices:
            start = self._features + int(self._first[device])
            rows = first[start : start + self._counts[device]]
            sums = (sums[:, None] + rows[None]).reshape(-1, self._hidden)
        return sums

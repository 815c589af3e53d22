# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class TrainingState(nn.Module):
    """A module whose buffers hold what a training has seen so far.

    They are saved and resumed like weights. A file without them, one made for inference or of a
    plain head, loads as if it were complete: they stay as they are.
    """

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Tensor],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, [], unexpected_keys, error_msgs
        )

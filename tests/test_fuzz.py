# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""A short turn of ``scripts/fuzz.py``, and what it has found."""

import runpy
from pathlib import Path

import numpy as np
import pytest

FUZZ = runpy.run_path(str(Path(__file__).parents[1] / "scripts/fuzz.py"))
NEEDS = dict(codec=(), onnx=("onnx", "onnxruntime"), page=("PIL",))


@pytest.mark.parametrize("target", FUZZ["TARGETS"])
def test_any_input_is_refused_or_answered(target):
    for module in NEEDS[target]:
        pytest.importorskip(module)
    tried, answered = FUZZ["fuzz"](target, examples=60)
    assert tried >= 60 and 0 < answered < tried


def test_it_notices_an_unsound_answer(monkeypatch):
    encoder, *_ = FUZZ["encoders"]()
    encode = type(encoder).encode

    def unsound(self, *args, **kwargs):
        encoded = encode(self, *args, **kwargs)
        return dict(encoded, segmentation=encoded["segmentation"] * np.float32(0.5))

    monkeypatch.setattr(type(encoder), "encode", unsound)
    with pytest.raises(AssertionError):
        FUZZ["fuzz"]("codec", examples=200)

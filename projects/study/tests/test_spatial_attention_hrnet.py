# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import copy

import numpy as np
import torch
from mmpose.registry import MODELS
from scipy.ndimage import correlate

from projects.study import SpatialAttention


def build(type, extra, **kwargs):
    torch.manual_seed(0)
    model = MODELS.build(dict(type=type, extra=copy.deepcopy(extra), **kwargs))
    model.init_weights()
    model.eval()
    return model


def test_logits_equal_a_float64_correlation():
    attention = SpatialAttention("multiply", 0.25, False).double()
    x = torch.randn(2, 5, 9, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weight = attention.conv.weight.detach().numpy()[0]
    with torch.no_grad():
        found = attention.predict(x).numpy()
    for image, logits in zip(x.numpy(), found):
        pooled = (image.sum(axis=0) / 5, image.max(axis=0))
        expected = sum(correlate(p, w, mode="constant") for p, w in zip(pooled, weight)) + 0.25
        np.testing.assert_allclose(logits[0], expected, rtol=0, atol=1e-12)


def test_it_weights_hrnet_where_the_guides_would(small_extra):
    plain, ours = build("HRNet", small_extra), build("SpatialAttentionHRNet", small_extra)
    theirs = plain.state_dict()
    assert all(torch.equal(v, theirs[k]) for k, v in ours.state_dict().items() if k in theirs)
    assert set(theirs) <= set(ours.state_dict())

    sources = {}
    for name in ("stage2", "stage3", "stage4"):
        stage = getattr(plain, name)
        stage.register_forward_pre_hook(
            lambda m, args, name=name: sources.update({name: args[0][0]})
        )
        stage[-1].branches[0].register_forward_hook(
            lambda m, args, out, name=name: out * ours.guides[name].predict(sources[name]).sigmoid()
        )
    x = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = list(plain(x))
        expected[0] = expected[0] * ours.guides["out"].predict(expected[0]).sigmoid()
        found = ours(x)
    assert len(found.segmentation_logits) == 4
    for a, b in zip(found, expected):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)

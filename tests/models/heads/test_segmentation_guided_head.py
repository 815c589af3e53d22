# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.structures import InstanceData, PixelData
from mmpose.models.heads import AssociativeEmbeddingHead, HeatmapHead, RegressionHead, RLEHead
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample, merge_data_samples

from sgpose.models import GuidedFeatures, SegmentationGuidedHeadMixin
from sgpose.models.heads import segmentation_guided_head
from sgpose.models.heads.segmentation_guided_head import attention_maps, resize_logits

CODEC = dict(type="MSRAHeatmap", input_size=(48, 64), heatmap_size=(12, 16), sigma=1)
SIMCC = dict(type="SimCCLabel", input_size=(48, 64), sigma=2.0, simcc_split_ratio=2.0)
HEADS = dict(
    heatmap=dict(
        type="SGHeatmapHead",
        in_channels=4,
        out_channels=5,
        deconv_out_channels=None,
        decoder=CODEC,
    ),
    simcc=dict(
        type="SGSimCCHead",
        in_channels=4,
        out_channels=5,
        input_size=(48, 64),
        in_featuremap_size=(12, 16),
        simcc_split_ratio=2.0,
        deconv_out_channels=None,
        loss=dict(type="KLDiscretLoss", use_target_weight=True),
        decoder=SIMCC,
    ),
    rtmcc=dict(
        type="SGRTMCCHead",
        in_channels=4,
        out_channels=5,
        input_size=(48, 64),
        in_featuremap_size=(12, 16),
        simcc_split_ratio=2.0,
        final_layer_kernel_size=3,
        gau_cfg=dict(
            hidden_dims=8,
            s=4,
            expansion_factor=2,
            dropout_rate=0.0,
            drop_path=0.0,
            act_fn="SiLU",
            use_rel_bias=False,
            pos_enc=False,
        ),
        loss=dict(type="KLDiscretLoss", use_target_weight=True),
        decoder=SIMCC,
    ),
)


def build(name="heatmap", **kwargs):
    torch.manual_seed(0)
    return MODELS.build(dict(copy.deepcopy(HEADS[name]), **kwargs)).train()


def plain(name="heatmap"):
    cfg = copy.deepcopy(HEADS[name])
    cfg["type"] = cfg["type"][2:]
    torch.manual_seed(0)
    return MODELS.build(cfg).train()


UDP = dict(type="UDPHeatmap", input_size=(48, 64), heatmap_size=(12, 16), sigma=1)
HEADS_AND_UDP = dict(HEADS, udp=dict(HEADS["heatmap"], decoder=UDP))


class SGRegressionHead(SegmentationGuidedHeadMixin, RegressionHead):
    pass


class SGRLEHead(SegmentationGuidedHeadMixin, RLEHead):
    pass


def guided_features(seed=0, size=(16, 12), num_guides=3):
    g = torch.Generator().manual_seed(seed)
    feature = torch.randn(2, 4, 16, 12, generator=g)
    logits = [torch.randn(2, 1, *size, generator=g) for _ in range(num_guides)]
    return GuidedFeatures([feature], logits)


def samples(name="heatmap", size=(16, 12), mask=True):
    rng = np.random.default_rng(0)
    batch = []
    for _ in range(2):
        sample = PoseDataSample(
            metainfo=dict(
                input_size=(48, 64),
                input_center=np.array([30.0, 40.0]),
                input_scale=np.array([60.0, 80.0]),
                flip_indices=[0, 2, 1, 4, 3],
                ori_shape=(100, 90),
            )
        )
        fields = PixelData()
        if name == "heatmap":
            fields.heatmaps = torch.tensor(rng.uniform(0, 1, (5, *size)), dtype=torch.float32)
        if mask:
            target = rng.integers(0, 2, (1, *size))
            fields.segmentation = torch.tensor(target, dtype=torch.float32)
        sample.gt_fields = fields
        labels = InstanceData(keypoint_weights=torch.ones(1, 5))
        if name != "heatmap":
            labels.keypoint_x_labels = torch.rand(1, 5, 96)
            labels.keypoint_y_labels = torch.rand(1, 5, 128)
        sample.gt_instance_labels = labels
        sample.gt_instances = InstanceData(
            bboxes=np.zeros((1, 4)),
            bbox_scores=np.ones(1),
            keypoints=np.zeros((1, 5, 2)),
        )
        batch.append(sample)
    return batch


def estimator():
    return MODELS.build(
        dict(
            type="TopdownPoseEstimator",
            backbone=dict(type="ResNet", depth=18),
            head=copy.deepcopy(HEADS["heatmap"]),
        )
    )


def bce(feats, batch):
    target = torch.stack([s.gt_fields.segmentation for s in batch])
    return sum(
        F.binary_cross_entropy(x.sigmoid(), target) for x in feats.segmentation_logits
    ) / len(feats.segmentation_logits)


@pytest.mark.parametrize("name", HEADS)
def test_losses_are_the_parents_and_the_masks(name):
    head, parent, feats = build(name), plain(name), guided_features()
    batch = samples(name)
    losses, expected = head.loss(feats, batch), parent.loss(tuple(feats), batch)
    segmentation = 0.002 * bce(feats, batch)
    torch.testing.assert_close(losses["loss_kpt"], expected["loss_kpt"])
    torch.testing.assert_close(losses["raw_kpt"], expected["loss_kpt"].detach())
    torch.testing.assert_close(losses["loss_seg"], segmentation)
    torch.testing.assert_close(losses["raw_seg"], segmentation)
    assert losses["weight_kpt"] == losses["weight_seg"] == 1
    assert torch.equal(losses["acc_pose"], expected["acc_pose"])
    assert not losses["raw_kpt"].requires_grad


def test_losses_are_weighted_and_mmengine_sums_them():
    head = build(loss_weighting=dict(type="DynamicWeightAverage", temperature=0.5))
    for seed in range(3):
        feats, batch = guided_features(seed), samples()
        weights = {k: float(v) for k, v in head.loss_weighting.weights().items()}
        losses = head.loss(feats, batch)
    assert weights["keypoint"] != pytest.approx(1, abs=1e-4)
    assert float(losses["weight_kpt"]) == pytest.approx(weights["keypoint"])
    expected = plain().loss(tuple(feats), batch)["loss_kpt"]
    assert float(losses["loss_kpt"]) == pytest.approx(weights["keypoint"] * float(expected))
    segmentation = 0.002 * float(bce(feats, batch))
    assert float(losses["loss_seg"]) == pytest.approx(weights["segmentation"] * segmentation)
    total, _ = estimator().parse_losses(losses)
    torch.testing.assert_close(total, losses["loss_kpt"] + losses["loss_seg"])


def test_all_losses_of_the_parent_get_one_weight_and_lists_too():
    class Parent(torch.nn.Module):
        def loss(self, feats, batch_data_samples, train_cfg):
            return dict(
                loss_a=torch.tensor(2.0),
                loss_b=[torch.tensor([1.0, 3.0]), torch.tensor(4.0)],
                acc_pose=torch.tensor(0.5),
            )

    class Head(SegmentationGuidedHeadMixin, Parent):
        pass

    head = Head().train()
    head.loss_weighting.weights = lambda: dict(
        keypoint=torch.tensor(0.5), segmentation=torch.tensor(1.5)
    )
    losses = head.loss(guided_features(), samples())
    assert losses["loss_a"] == 1.0
    assert [x.tolist() for x in losses["loss_b"]] == [[0.5, 1.5], 2.0]
    assert losses["acc_pose"] == 0.5
    assert losses["raw_kpt"] == 2 + 2 + 4


def test_switched_off():
    feats, batch = guided_features(), samples()
    expected = plain().loss(tuple(feats), batch)
    alone = build(segmentation_loss=None).loss(feats, batch)
    assert {k: float(v) for k, v in alone.items()} == {k: float(v) for k, v in expected.items()}
    fixed = build(
        loss_weighting=None, segmentation_loss=dict(type="SegmentationLoss", loss_weight=2.0)
    ).loss(feats, batch)
    assert set(fixed) == {"loss_kpt", "loss_seg", "acc_pose"}
    torch.testing.assert_close(fixed["loss_kpt"], expected["loss_kpt"])
    torch.testing.assert_close(fixed["loss_seg"], 2 * bce(feats, batch))


def test_gradient_of_the_segmentation_loss_reaches_every_guide():
    feats = guided_features()
    for logits in feats.segmentation_logits:
        logits.requires_grad_()
    build().loss(feats, samples())["loss_seg"].backward()
    assert all(logits.grad.abs().sum() > 0 for logits in feats.segmentation_logits)


@pytest.mark.parametrize("size", [(8, 6), (32, 24), (4, 3)])
def test_logits_of_another_size_are_resized_to_the_mask(size):
    feats = guided_features(size=size)
    resized = [
        F.interpolate(x, (16, 12), mode="bilinear", align_corners=False)
        for x in feats.segmentation_logits
    ]
    losses = build().loss(feats, samples())
    expected = 0.002 * bce(GuidedFeatures([], resized), samples())
    torch.testing.assert_close(losses["raw_seg"], expected)


def test_rounding_of_strides_is_no_other_aspect_ratio():
    logits = torch.zeros(1, 1, 5, 4)
    assert resize_logits(logits, (33, 25)).shape == (1, 1, 33, 25)
    assert resize_logits(logits, (5, 4)) is logits


@pytest.mark.parametrize("size", [(16, 16), (12, 16), (8, 12)])
def test_another_aspect_ratio_is_refused(size):
    with pytest.raises(ValueError, match=f"map of {size[0]}x{size[1]} .* mask of 16x12"):
        build().loss(guided_features(size=size), samples())


@pytest.mark.parametrize("name", HEADS)
def test_prediction_is_the_parents(name):
    head, parent, feats = build(name).eval(), plain(name).eval(), guided_features()
    with torch.no_grad():
        ours = head.predict(feats, samples(name), {})
        theirs = parent.predict(tuple(feats), samples(name), {})
    for a, b in zip(ours, theirs):
        assert set(a.keys()) == set(b.keys())
        np.testing.assert_array_equal(a.keypoints, b.keypoints)


@pytest.mark.parametrize("shift", [False, True])
def test_maps_come_with_the_heatmaps_and_survive_merging(shift):
    head = build().eval()
    feats, flipped = guided_features(0), guided_features(1)
    cfg = dict(flip_test=True, flip_mode="heatmap", shift_heatmap=shift, output_heatmaps=True)
    batch = samples()
    with torch.no_grad():
        preds, fields = head.predict([feats, flipped], batch, cfg)
    back = torch.cat([x.sigmoid().flip(-1) for x in flipped.segmentation_logits], 1)
    if shift:
        back = torch.cat([back[..., :1], back[..., :-1]], -1)
    expected = (torch.cat([x.sigmoid() for x in feats.segmentation_logits], 1) + back) / 2
    for i in range(2):
        assert preds[i].guide_maps.shape == (1, 3, 16, 12)
        np.testing.assert_allclose(preds[i].guide_maps[0], expected[i].numpy(), rtol=1e-6)
    merged = merge_data_samples(estimator().add_pred_to_datasample(preds, fields, batch))
    assert merged.pred_instances.guide_maps.shape == (2, 3, 16, 12)
    assert merged.pred_instances.guide_input_center.tolist() == [[30.0, 40.0]] * 2
    assert merged.pred_instances.guide_input_scale.tolist() == [[60.0, 80.0]] * 2


def test_maps_of_different_sizes_are_shown_at_the_finest():
    feats = GuidedFeatures([], [torch.zeros(1, 1, 4, 3), torch.ones(1, 1, 8, 6)])
    maps = attention_maps(feats)
    assert maps.shape == (1, 2, 8, 6)
    torch.testing.assert_close(maps[0, 0], torch.full((8, 6), 0.5))


def test_prediction_needs_no_logits():
    preds, _ = (
        build().eval().predict(tuple(guided_features()), samples(), dict(output_heatmaps=True))
    )
    assert "guide_maps" not in preds[0]


def test_features_without_logits():
    with pytest.raises(TypeError, match="got tuple without.*GuidedNeck"):
        build().loss(tuple(guided_features()), samples())
    with pytest.raises(TypeError, match="carry segmentation logits"):
        build().loss(guided_features(num_guides=0), samples())


def test_targets_without_segmentation():
    with pytest.raises(ValueError, match="targets hold no segmentation.*SegmentationTarget"):
        build().loss(guided_features(), samples(mask=False))


@pytest.mark.parametrize(
    "map_size, mask_size, fits",
    [
        ((16, 12), (16, 12), True),
        ((4, 3), (16, 12), True),
        ((5, 3), (16, 12), True),  # 5 rows against 4, which is 3 columns against 3.75
        ((4, 9), (8, 16), True),  # 4 rows against 4.5
        ((9, 4), (16, 8), True),  # 4 columns against 4.5
        ((3, 4), (8, 8), False),
        ((4, 3), (8, 8), False),
        ((3, 5), (16, 12), False),
    ],
)
def test_aspect_ratios_may_differ_by_the_rounding_of_one_side(map_size, mask_size, fits):
    logits = torch.randn(1, 1, *map_size)
    if fits:
        assert resize_logits(logits, mask_size).shape[-2:] == mask_size
        return
    with pytest.raises(ValueError, match="cannot be compared with a mask"):
        resize_logits(logits, mask_size)


def test_arguments_by_place_are_the_heads():
    head = MODELS.build(dict(copy.deepcopy(HEADS["heatmap"]), in_channels=6))
    by_place = type(head)(6, 5, None)
    assert by_place.final_layer.weight.shape == head.final_layer.weight.shape


@pytest.mark.parametrize("name", ["simcc", "rtmcc"])
def test_features_of_another_size_than_the_head_is_built_for(name):
    feats = GuidedFeatures([torch.randn(2, 4, 12, 16)], [torch.randn(2, 1, 12, 16)])
    with pytest.raises(ValueError, match=r"\(width, height\) \(12, 16\) and got \(16, 12\)"):
        build(name).loss(feats, samples(name))


@pytest.mark.parametrize("name", HEADS)
def test_targets_of_another_number_of_keypoints(name):
    with pytest.raises(ValueError, match="predicts 6 channels, the targets have 5"):
        build(name, out_channels=6).loss(guided_features(), samples(name))


def test_only_the_first_target_is_counted_and_fields_may_lack():
    head, (sample, _) = build("simcc"), samples("simcc")
    head._check_keypoints(sample)
    del sample.gt_fields
    head._check_keypoints(sample)
    sample.gt_instance_labels.keypoint_weights = torch.ones(1, 4)
    with pytest.raises(ValueError, match="the targets have 4"):
        head._check_keypoints(sample)


@pytest.mark.parametrize("name", HEADS)
def test_the_maps_of_one_pass_are_those_of_its_guides(name):
    feats, head = guided_features(), build(name).eval()
    predicted = head.predict(feats, samples(name), dict(output_heatmaps=True))
    instances = predicted[0] if isinstance(predicted, tuple) else predicted
    maps = np.concatenate([instance.guide_maps for instance in instances])
    np.testing.assert_array_equal(maps, attention_maps(feats).numpy())
    assert instances[0].guide_input_center.tolist() == [[30, 40]]
    assert "guide_maps" not in head.predict(feats, samples(name), {})[0]


def test_without_a_word_on_it_mirrored_maps_are_not_shifted():
    head, passes = build().eval(), [guided_features(0), guided_features(1)]
    settings = dict(flip_test=True, output_heatmaps=True)
    (instance, _), _ = head.predict(passes, samples(), settings)
    maps = (attention_maps(passes[0]) + attention_maps(passes[1]).flip(-1)) / 2
    np.testing.assert_allclose(instance.guide_maps[0], maps[0].numpy(), rtol=1e-6)


def test_a_head_may_return_instances_alone():
    class Parent(torch.nn.Module):
        def predict(self, feats, batch_data_samples, test_cfg):
            return [InstanceData() for _ in batch_data_samples]

    class Head(SegmentationGuidedHeadMixin, Parent):
        pass

    predicted = Head().predict(guided_features(), samples(), dict(output_heatmaps=True))
    assert predicted[1].guide_maps.shape == (1, 3, 16, 12)


def test_channels_are_those_of_the_heatmaps_where_there_are_some():
    sample = samples()[0]
    sample.gt_fields = PixelData(heatmaps=torch.zeros(6, 16, 12))  # and weights of 5 keypoints
    build(out_channels=6)._check_keypoints(sample)
    with pytest.raises(ValueError, match="predicts 5 channels, the targets have 6"):
        build()._check_keypoints(sample)


def coordinates_head(cls, **kwargs):
    decoder = dict(type="RegressionLabel", input_size=(48, 64))
    return cls(in_channels=4, num_joints=5, decoder=decoder, **kwargs).train()


def with_coordinates(batch):
    for i, sample in enumerate(batch):
        g = torch.Generator().manual_seed(i)
        sample.gt_instance_labels.keypoint_labels = torch.rand(1, 5, 2, generator=g)
        del sample.gt_fields.heatmaps
    return batch


def pooled(feats):
    return GuidedFeatures([feats[-1].mean((2, 3))], feats.segmentation_logits)


@pytest.mark.parametrize("name", [*HEADS_AND_UDP, "regression"])
@pytest.mark.parametrize("weighting", [None, dict(interval=2)])
def test_an_automatic_weight_makes_both_losses_alike(name, weighting):
    options = dict(segmentation_loss=dict(loss_weight="auto"), loss_weighting=weighting)
    batch = samples("heatmap" if name in ("udp", "regression") else name)
    if name == "regression":
        batch, head = with_coordinates(batch), coordinates_head(SGRegressionHead, **options)
    else:
        head = MODELS.build(dict(copy.deepcopy(HEADS_AND_UDP[name]), **options)).train()
    auto, ratios, weights = head.segmentation_loss.auto_weight, [], []
    for seed in range(auto.steps + 3):
        feats = guided_features(seed % 7)
        logits = feats.segmentation_logits
        losses = head.loss(pooled(feats) if name == "regression" else feats, batch)
        keypoint = losses["raw_kpt"] if weighting else losses["loss_kpt"]
        segmentation = losses["raw_seg"] if weighting else losses["loss_seg"]
        weights.append(float(segmentation) / float(bce(GuidedFeatures([], logits), batch)))
        ratios.append(weights[-1] * float(keypoint) / float(segmentation))
    settled = np.exp(np.log(ratios[: auto.steps]).mean())
    assert weights[-3:] == pytest.approx([settled] * 3, rel=1e-4)
    assert weights[:-3] == pytest.approx(
        [np.exp(np.log(ratios[: i + 1]).mean()) for i in range(auto.steps)], rel=1e-4
    )


def test_the_weighting_does_not_see_the_automatic_weight_settle():
    """Its ratios are those of the losses, whatever the weight does in the first steps."""
    auto = build(segmentation_loss=dict(loss_weight="auto"))
    number = build(segmentation_loss=dict(loss_weight=1.0))
    weights = []
    for seed in range(8):
        feats, batch = guided_features(seed), samples()
        feats = GuidedFeatures(feats, [(1 + seed) * x for x in feats.segmentation_logits])
        a, b = auto.loss(feats, batch), number.loss(feats, batch)
        for name in ("weight_kpt", "weight_seg", "loss_kpt"):
            assert torch.equal(a[name], b[name])
        weights.append(float(auto.segmentation_loss.auto_weight.weight()))
        assert float(a["loss_seg"]) == pytest.approx(weights[-1] * float(b["loss_seg"]), rel=1e-5)
    assert max(weights) > 1.2 * min(weights)


def test_a_likelihood_has_a_number_and_says_so(monkeypatch):
    messages = []
    monkeypatch.setattr(
        segmentation_guided_head, "print_log", lambda text, **kw: messages.append(text)
    )
    head = coordinates_head(SGRLEHead, segmentation_loss=dict(loss_weight="auto"))
    assert head.segmentation_loss.loss_weight == 0.002
    assert len(messages) == 1 and "is 0.002 here" in messages[0]
    coordinates_head(SGRLEHead, segmentation_loss=dict(loss_weight=0.1))
    build(segmentation_loss=dict(loss_weight="auto"))
    assert len(messages) == 1


def test_a_likelihood_trains_and_predicts():
    head, batch = coordinates_head(SGRLEHead), with_coordinates(samples())
    optimizer = torch.optim.Adam(head.parameters(), lr=0.02)
    found = []
    for _ in range(150):
        losses = head.loss(pooled(guided_features()), batch)
        optimizer.zero_grad()
        (losses["loss_kpt"] + losses["loss_seg"]).backward()
        optimizer.step()
        found.append((float(losses["raw_kpt"]), float(losses["weight_kpt"])))
    negative = [i for i, (loss, _) in enumerate(found) if loss < 0]
    assert negative and found[0][0] > 0, "it crosses zero"
    # the mask's loss stays, so both rates are 1 from there on
    assert all(w == pytest.approx(1) for _, w in found[negative[0] + 1 :])
    (first, _) = head.eval().predict(pooled(guided_features()), batch, dict(output_heatmaps=True))
    assert first.guide_maps.shape == (1, 3, 16, 12)


def test_a_weight_of_nothing_leaves_the_keypoint_loss_alone():
    head = build(segmentation_loss=dict(loss_weight=0.0))
    for seed in range(4):
        feats = guided_features(seed)
        losses = head.loss(feats, samples())
        torch.testing.assert_close(losses["loss_kpt"], plain().loss(feats, samples())["loss_kpt"])
        assert losses["loss_seg"] == 0


def test_the_mix_in_has_to_be_named_first():
    with pytest.raises(TypeError, match=r"class H\(SegmentationGuidedHeadMixin, HeatmapHead\)"):

        class H(HeatmapHead, SegmentationGuidedHeadMixin):
            pass

    class Extra:
        def predict(self, *args):
            return super().predict(*args)

    class Fits(Extra, SegmentationGuidedHeadMixin, HeatmapHead):
        pass

    class Further(Fits):
        pass

    with pytest.raises(TypeError, match="takes its losses from HeatmapHead"):

        class Late(HeatmapHead, Extra, SegmentationGuidedHeadMixin):
            pass


def test_configs_of_the_losses_need_no_type():
    head = build(segmentation_loss=dict(loss_weight=0.5), loss_weighting=dict(interval=7))
    assert head.segmentation_loss.loss_weight == 0.5 and head.loss_weighting.interval == 7


def test_heatmaps_of_another_size_are_named():
    """Width and height exchanged in the codec; the same mistake twice as large."""
    for size, named in (((12, 16), r"\(16, 12\)"), ((32, 24), r"\(24, 32\)")):
        batch = samples(size=size)
        with pytest.raises(ValueError, match=rf"\(12, 16\), the targets' are {named}: .*width"):
            build().loss(guided_features(), batch)
    head = build()
    head.loss(guided_features(), samples())
    head.eval()
    with torch.no_grad():  # another input size in a test is nobody's mistake
        head(GuidedFeatures([torch.zeros(1, 4, 8, 8)], [torch.zeros(1, 1, 8, 8)]))


def test_tags_of_associative_embedding_are_no_keypoints():
    head = type("Head", (SegmentationGuidedHeadMixin, AssociativeEmbeddingHead), {})(
        in_channels=4,
        num_keypoints=5,
        tag_dim=1,
        deconv_out_channels=None,
        keypoint_loss=dict(type="KeypointMSELoss"),
        tag_loss=dict(type="AssociativeEmbeddingLoss"),
    )
    labels = dict(keypoint_weights=torch.ones(1, 5))
    labels["keypoint_indices"] = torch.zeros(1, 5, 2, dtype=torch.long)
    sample = PoseDataSample(gt_instance_labels=InstanceData(**labels))
    sample.gt_fields = PixelData(heatmaps=torch.zeros(5, 6, 4), segmentation=torch.zeros(1, 6, 4))
    sample.gt_fields.heatmap_mask = torch.ones(1, 6, 4)
    feats = GuidedFeatures([torch.ones(1, 4, 6, 4)], [torch.zeros(1, 1, 6, 4)])
    losses = head.loss(feats, [sample], {})
    assert {"loss_kpt", "loss_pull", "loss_push", "loss_seg"} <= set(losses)

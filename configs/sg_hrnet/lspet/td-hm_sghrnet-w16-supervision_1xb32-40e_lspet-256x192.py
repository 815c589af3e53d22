# Auxiliary supervision only: folded, the network is HRNet itself.
_base_ = ["td-hm_hrnet-w16_1xb32-40e_lspet-256x192.py"]

visualizer = dict(type="SGLocalVisualizer")

model = dict(
    backbone=dict(type="SGHRNet", guide_op="none"),
    head=dict(
        type="SGHeatmapHead",
        segmentation_loss=dict(type="SegmentationLoss", loss_weight=0.005),
        loss_weighting=dict(type="DynamicWeightAverage", temperature=1.0, interval=1),
    ),
)

train_pipeline = _base_.train_pipeline
train_pipeline[-2].encoder = dict(type="SegmentationTarget", codec=_base_.codec, radius=5.0)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

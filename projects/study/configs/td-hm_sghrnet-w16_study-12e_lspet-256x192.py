_base_ = ["td-hm_hrnet-w16_study-12e_lspet-256x192.py"]

visualizer = dict(type="SGLocalVisualizer")
model = dict(
    backbone=dict(type="SGHRNet"),
    head=dict(
        type="SGHeatmapHead",
        segmentation_loss=dict(type="SegmentationLoss", loss_weight=0.002),
        loss_weighting=dict(type="DynamicWeightAverage", temperature=1.0, interval=1),
    ),
)

train_pipeline = _base_.train_pipeline
train_pipeline[-2].encoder = dict(type="SegmentationTarget", codec=_base_.codec, radius=5.0)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

_base_ = [
    "mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_hrnet-w32_8xb64-210e_coco-256x192.py",
    "../_base_/hooks.py",
]

custom_imports = dict(imports=["sgpose"], allow_failed_imports=False)
visualizer = dict(type="SGLocalVisualizer")
default_hooks = _base_.safe_hooks

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

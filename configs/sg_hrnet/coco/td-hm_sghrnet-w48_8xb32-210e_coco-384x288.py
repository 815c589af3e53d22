_base_ = [
    "mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_hrnet-w48_8xb32-210e_coco-384x288.py",
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
train_pipeline[-2].encoder = dict(type="SegmentationTarget", codec=_base_.codec, radius=7.5)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

# SimpleBaseline with a guide at the backbone's output.
_base_ = ["mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_res101_8xb64-210e_coco-256x192.py"]

custom_imports = dict(imports=["sgpose"], allow_failed_imports=False)

model = dict(
    backbone=dict(_delete_=True, type="SGBackbone", backbone=_base_.model.backbone),
    head=dict(type="SGHeatmapHead"),
)

train_pipeline = _base_.train_pipeline
train_pipeline[-2].encoder = dict(type="SegmentationTarget", codec=_base_.codec, radius=5.0)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

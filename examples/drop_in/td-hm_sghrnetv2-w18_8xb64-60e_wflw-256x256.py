_base_ = [
    "mmpose::face_2d_keypoint/topdown_heatmap/wflw/td-hm_hrnetv2-w18_8xb64-60e_wflw-256x256.py"
]

custom_imports = dict(imports=["sgpose"], allow_failed_imports=False)

model = dict(
    backbone=dict(type="SGHRNet"),
    neck=dict(_delete_=True, type="GuidedNeck", neck=_base_.model.neck),
    head=dict(type="SGHeatmapHead"),
)

train_pipeline = _base_.train_pipeline
train_pipeline[-2].encoder = dict(type="SegmentationTarget", codec=_base_.codec, radius=5.0)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

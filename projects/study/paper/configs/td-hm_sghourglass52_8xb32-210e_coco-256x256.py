# MMPose's Hourglass with a guide at its output.
_base_ = [
    "mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_hourglass52_8xb32-210e_coco-256x256.py"
]

custom_imports = dict(imports=["sgpose", "projects.study"], allow_failed_imports=False)

model = dict(
    backbone=dict(
        _delete_=True, type="SGBackbone", backbone=_base_.model.backbone, guide_indices=(0,)
    ),
    head=dict(type="SGCPMHead"),
)

train_pipeline = _base_.train_pipeline
train_pipeline[-2].encoder = dict(type="SegmentationTarget", codec=_base_.codec, radius=5.0)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

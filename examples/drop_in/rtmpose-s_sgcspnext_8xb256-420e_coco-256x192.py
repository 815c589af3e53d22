_base_ = ["mmpose::body_2d_keypoint/rtmpose/coco/rtmpose-s_8xb256-420e_coco-256x192.py"]

custom_imports = dict(imports=["sgpose"], allow_failed_imports=False)

model = dict(
    backbone=dict(_delete_=True, type="SGBackbone", backbone=_base_.model.backbone),
    head=dict(type="SGRTMCCHead"),
)

# The mask is as coarse as the map, of stride 32, and so is the radius.
encoder = dict(type="SegmentationTarget", codec=_base_.codec, radius=1.0, mask_size=(6, 8))
train_pipeline = _base_.train_pipeline
train_pipeline[-2].encoder = encoder
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

# The last epochs have a pipeline of their own.
train_pipeline_stage2 = _base_.train_pipeline_stage2
train_pipeline_stage2[-2].encoder = encoder
custom_hooks = _base_.custom_hooks
custom_hooks[1].switch_pipeline = train_pipeline_stage2

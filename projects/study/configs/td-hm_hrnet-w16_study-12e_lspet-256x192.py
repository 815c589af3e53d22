# The paper's setting with the small network: maps of 64x48, sigma 2, decoded with the quarter
# offset, fused with bilinear up-sampling.
_base_ = ["td-hm_hrnet-w16_study-12e_lspet-128x96.py"]

codec = dict(
    _delete_=True, type="MSRAHeatmap", input_size=(192, 256), heatmap_size=(48, 64), sigma=2
)
model = dict(
    backbone=dict(extra=dict(upsample=dict(mode="bilinear", align_corners=False))),
    head=dict(decoder=codec),
)

train_pipeline = _base_.train_pipeline
train_pipeline[-3].input_size = codec["input_size"]
train_pipeline[-2].encoder = {k: v for k, v in codec.items() if k != "_delete_"}
val_pipeline = _base_.val_pipeline
val_pipeline[-2].input_size = codec["input_size"]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = val_dataloader

# One mask per limb of the skeleton, predicted from all resolutions, modulates each channel of the
# high-resolution branch. It starts as HRNet itself.
_base_ = ["td-hm_sghrnet-w16_study-crowd-12e_lspet-128x96.py"]

model = dict(
    backbone=dict(type="LimbGuidedHRNet", num_maps=13, guide_init_bias=-3.0),
    head=dict(segmentation_loss=dict(loss_weight=0.1)),
)

train_pipeline = _base_.train_pipeline
train_pipeline[-2].encoder.update(type="LimbTarget", radius=1.5)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

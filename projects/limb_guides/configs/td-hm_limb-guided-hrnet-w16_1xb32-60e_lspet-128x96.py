_base_ = ["../../../configs/sg_hrnet/lspet/td-hm_sghrnet-w16_1xb32-60e_lspet-128x96.py"]

custom_imports = dict(imports=["sgpose", "projects.limb_guides"], allow_failed_imports=False)

model = dict(
    backbone=dict(
        type="LimbGuidedHRNet",
        num_maps=13,
        guide_stages=(3, 4, "out"),
        guide_target="stage_inputs",
        guide_kernel_size=1,
        guide_init_bias=-3.0,
    ),
    head=dict(segmentation_loss=dict(loss_weight=0.1)),
)

train_pipeline = _base_.train_pipeline
train_pipeline[-2].encoder.update(type="LimbTarget", radius=1.5)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

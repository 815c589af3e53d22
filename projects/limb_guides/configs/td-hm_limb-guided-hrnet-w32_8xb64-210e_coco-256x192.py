# Lambda is that of 32x24 maps divided by four: the heatmap loss of maps twice as fine is a quarter.
_base_ = ["../../../configs/sg_hrnet/coco/td-hm_sghrnet-w32_8xb64-210e_coco-256x192.py"]

custom_imports = dict(imports=["sgpose", "projects.limb_guides"], allow_failed_imports=False)

model = dict(
    backbone=dict(
        type="LimbGuidedHRNet",
        num_maps=19,
        guide_stages=(3, 4, "out"),
        guide_target="stage_inputs",
        guide_module="first",
        guide_kernel_size=1,
        guide_init_bias=-3.0,
    ),
    head=dict(segmentation_loss=dict(loss_weight=0.025)),
)

train_pipeline = _base_.train_pipeline
train_pipeline[-2].encoder.update(type="LimbTarget", radius=3.0)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

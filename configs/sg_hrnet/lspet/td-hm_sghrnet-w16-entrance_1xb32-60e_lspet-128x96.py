# A mask per limb guides the inputs of stages 3 and 4.
_base_ = ["td-hm_sghrnet-w16_1xb32-60e_lspet-128x96.py"]

model = dict(
    backbone=dict(
        guide_stages=(3, 4, "out"),
        guide_source="all_branches",
        guide_target="stage_inputs",
        guide_op="modulate",
        guide_kernel_size=1,
        num_maps=13,
        guide_init_bias=-3.0,
    ),
    head=dict(segmentation_loss=dict(loss_weight=0.1)),
)

train_pipeline = _base_.train_pipeline
train_pipeline[-2].encoder.update(parts="limbs", radius=1.5)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

# A mask per limb guides what enters stages 3 and 4. Lambda is the study's divided by four: the
# heatmap loss of maps twice as fine is a quarter.
_base_ = ["td-hm_sghrnet-w32_8xb64-210e_coco-256x192.py"]

model = dict(
    backbone=dict(
        guide_stages=(3, 4, "out"),
        guide_source="all_branches",
        guide_target="stage_inputs",
        guide_module="first",
        guide_op="modulate",
        guide_kernel_size=1,
        num_maps=19,
        guide_init_bias=-3.0,
    ),
    head=dict(segmentation_loss=dict(loss_weight=0.025)),
)

train_pipeline = _base_.train_pipeline
train_pipeline[-2].encoder.update(parts="limbs", radius=3.0)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

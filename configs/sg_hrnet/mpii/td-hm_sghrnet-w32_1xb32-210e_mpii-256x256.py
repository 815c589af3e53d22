_base_ = ["td-hm_sghrnet-w32_8xb64-210e_mpii-256x256.py"]

# the paper fuses with bilinear up-sampling, MMPose's HRNet with nearest
model = dict(backbone=dict(extra=dict(upsample=dict(mode="bilinear", align_corners=False))))

# the paper's schedule: one GPU, Adam, no warm-up
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type="MultiStepLR", begin=0, end=210, milestones=[170, 200], gamma=0.1, by_epoch=True)
]
auto_scale_lr = dict(base_batch_size=32)

# the paper's augmentation: rotation, scale and flip, no shift and no half bodies
train_pipeline = [
    dict(type="LoadImage"),
    dict(type="GetBBoxCenterScale"),
    dict(type="RandomFlip", direction="horizontal"),
    dict(
        type="RandomBBoxTransform",
        shift_prob=0.0,
        scale_factor=(0.65, 1.35),
        rotate_factor=45.0,
    ),
    *_base_.train_pipeline[-3:],
]
train_dataloader = dict(batch_size=32, dataset=dict(pipeline=train_pipeline))

_base_ = ["td-hm_sghrnet-w32_8xb64-210e_coco-256x192.py"]

# MMPose's HRNet-W32, COCO AP 0.746 in its model zoo
load_from = "https://download.openmmlab.com/mmpose/v1/body_2d_keypoint/topdown_heatmap/coco/td-hm_hrnet-w32_8xb64-210e_coco-256x192-81c58e40_20220909.pth"  # noqa: E501

# starts next to HRNet: each guided feature is multiplied by 1 + sigmoid(about -7) = 1.001
model = dict(backbone=dict(init_cfg=None, guide_op="residual", guide_init_bias=-7.0))

train_cfg = dict(max_epochs=20, val_interval=5)
optim_wrapper = dict(optimizer=dict(lr=1e-4))
param_scheduler = [
    dict(type="LinearLR", begin=0, end=500, start_factor=0.01, by_epoch=False),
    dict(type="MultiStepLR", begin=0, end=20, milestones=[14, 18], gamma=0.1, by_epoch=True),
]

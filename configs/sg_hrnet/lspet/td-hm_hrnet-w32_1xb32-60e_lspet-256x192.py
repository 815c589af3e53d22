_base_ = [
    "mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_hrnet-w32_8xb64-210e_coco-256x192.py",
    "../_base_/datasets/lspet.py",
    "../_base_/hooks.py",
]

train_cfg = dict(max_epochs=60, val_interval=5)
param_scheduler = [
    dict(type="LinearLR", begin=0, end=200, start_factor=0.001, by_epoch=False),
    dict(type="MultiStepLR", begin=0, end=60, milestones=[45, 55], gamma=0.1, by_epoch=True),
]
auto_scale_lr = dict(base_batch_size=32)
default_hooks = dict(
    _base_.safe_hooks,
    checkpoint=dict(_base_.safe_hooks.checkpoint, save_best="PCK", rule="greater"),
)

model = dict(head=dict(out_channels=14))

dataset_type = _base_.lspet_train.type
train_dataloader = dict(
    batch_size=32,
    dataset=dict(_delete_=True, **_base_.lspet_train, pipeline=_base_.train_pipeline),
)
val_dataloader = dict(dataset=dict(_delete_=True, **_base_.lspet_val, pipeline=_base_.val_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(_delete_=True, type="PCKAccuracy", thr=0.2, norm_item="bbox")
test_evaluator = val_evaluator

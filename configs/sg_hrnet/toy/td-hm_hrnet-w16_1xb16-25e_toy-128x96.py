_base_ = [
    "mmpose::_base_/default_runtime.py",
    "../_base_/models/hrnet-w16_128x96.py",
    "../_base_/hooks.py",
]

custom_imports = dict(imports=["sgpose"], allow_failed_imports=False)

train_cfg = dict(max_epochs=25, val_interval=5)
optim_wrapper = dict(optimizer=dict(type="Adam", lr=2e-3))
param_scheduler = [
    dict(type="LinearLR", begin=0, end=50, start_factor=0.01, by_epoch=False),
    dict(
        type="CosineAnnealingLR",
        begin=0,
        end=25,
        T_max=25,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
auto_scale_lr = dict(base_batch_size=16)
default_hooks = dict(
    _base_.safe_hooks,
    logger=dict(interval=10),
    checkpoint=dict(
        _base_.safe_hooks.checkpoint,
        interval=5,
        max_keep_ckpts=2,
        save_best="coco/AP",
        rule="greater",
    ),
)

# drawn people vary little: milder augmentation than photographs need
train_pipeline = _base_.train_pipeline
train_pipeline[3].update(scale_factor=(0.75, 1.25), rotate_factor=30.0)

dataset_type = "CocoDataset"
data_root = "data/toy/"
toy_train = dict(
    type=dataset_type,
    data_root=data_root,
    data_mode="topdown",
    ann_file="annotations/person_keypoints_train.json",
    data_prefix=dict(img="train/"),
)
train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(toy_train, pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False, round_up=False),
    dataset=dict(
        toy_train,
        ann_file="annotations/person_keypoints_val.json",
        data_prefix=dict(img="val/"),
        test_mode=True,
        pipeline=_base_.val_pipeline,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(
    type="CocoMetric", ann_file=data_root + "annotations/person_keypoints_val.json"
)
test_evaluator = val_evaluator

# HRNet-W16 on LSP-extended, as the study trains it: images decoded once into memory, bfloat16 and
# channels-last on the CPU, a cosine schedule. The study's arms change it by options.
_base_ = ["../../../configs/sg_hrnet/lspet/td-hm_hrnet-w16_1xb32-60e_lspet-128x96.py"]

max_epochs = 12
train_cfg = dict(max_epochs=max_epochs, val_interval=3)
optim_wrapper = dict(type="BFloat16CPUOptimWrapper")
param_scheduler = [
    dict(type="LinearLR", begin=0, end=100, start_factor=0.01, by_epoch=False),
    dict(
        type="CosineAnnealingLR",
        begin=0,
        end=max_epochs,
        T_max=max_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
custom_hooks = [*_base_.custom_hooks, dict(type="ChannelsLastHook")]
default_hooks = dict(checkpoint=dict(interval=3, max_keep_ckpts=1))
model = dict(train_cfg=dict(compute_acc=False))

train_pipeline = _base_.train_pipeline
train_pipeline[0].type = "LoadImageOnce"
val_pipeline = _base_.val_pipeline
val_pipeline[0].type = "LoadImageOnce"
train_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(pipeline=train_pipeline)
)
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(pipeline=val_pipeline))
test_dataloader = val_dataloader

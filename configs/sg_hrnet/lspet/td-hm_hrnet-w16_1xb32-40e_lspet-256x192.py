_base_ = ["td-hm_hrnet-w16_1xb32-60e_lspet-128x96.py"]

codec = dict(
    type="MSRAHeatmap", input_size=(192, 256), heatmap_size=(48, 64), sigma=2, unbiased=True
)
model = dict(head=dict(decoder=codec))

train_pipeline = _base_.train_pipeline
train_pipeline[-3].input_size = codec["input_size"]
train_pipeline[-2].encoder = codec
val_pipeline = _base_.val_pipeline
val_pipeline[-2].input_size = codec["input_size"]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = val_dataloader

max_epochs = 40
train_cfg = dict(max_epochs=max_epochs, val_interval=5)
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

_base_ = ["td-hm_sghrnet-w32_8xb64-210e_mpii-256x256.py"]

codec = dict(type="MSRAHeatmap", input_size=(192, 256), heatmap_size=(48, 64), sigma=2)
model = dict(head=dict(decoder=codec))

train_pipeline = _base_.train_pipeline
train_pipeline[-3].input_size = codec["input_size"]
train_pipeline[-2].encoder.codec = codec
val_pipeline = _base_.val_pipeline
val_pipeline[-2].input_size = codec["input_size"]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = val_dataloader

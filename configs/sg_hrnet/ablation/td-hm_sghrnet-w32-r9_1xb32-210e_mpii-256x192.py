_base_ = ["../mpii/td-hm_sghrnet-w32_1xb32-210e_mpii-256x192.py"]

train_pipeline = _base_.train_pipeline
train_pipeline[-2].encoder.radius = 9.0
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

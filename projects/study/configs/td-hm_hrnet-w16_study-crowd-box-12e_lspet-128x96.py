# Two other persons are pasted into every crop, which is darkened outside the person's box.
_base_ = ["td-hm_hrnet-w16_study-crowd-12e_lspet-128x96.py"]

train_pipeline = _base_.train_pipeline
train_pipeline.insert(6, dict(type="DarkenOutsideBox", outside=0.3, jitter=0.05))
val_pipeline = _base_.val_pipeline
val_pipeline.insert(4, dict(type="DarkenOutsideBox", outside=0.3))
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = val_dataloader

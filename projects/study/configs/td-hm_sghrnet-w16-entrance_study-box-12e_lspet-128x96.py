# Limb masks at the entrance of the stages, and the crop darkened outside the person's box.
_base_ = ["td-hm_sghrnet-w16-entrance_study-12e_lspet-128x96.py"]

train_pipeline = _base_.train_pipeline
train_pipeline.insert(5, dict(type="DarkenOutsideBox", outside=0.3, jitter=0.05))
val_pipeline = _base_.val_pipeline
val_pipeline.insert(3, dict(type="DarkenOutsideBox", outside=0.3))
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = val_dataloader

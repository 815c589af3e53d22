# Two other persons of the data are pasted into every crop.
_base_ = ["td-hm_hrnet-w16_study-12e_lspet-128x96.py"]

custom_imports = dict(imports=["sgpose", "projects.study"])
train_pipeline = _base_.train_pipeline
train_pipeline.insert(
    5, dict(type="PastePeople", source=_base_.lspet_train, num_people=2, distance=(0.35, 0.6))
)
val_pipeline = _base_.val_pipeline
val_pipeline.insert(
    3,
    dict(type="PastePeople", source=_base_.lspet_val, num_people=2, distance=(0.35, 0.6), seed=0),
)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = val_dataloader

# The baseline of the paper's network, with its schedule, augmentation and fusion.
_base_ = ["../../../../configs/sg_hrnet/coco/td-hm_sghrnet-w32_1xb32-210e_coco-256x192.py"]

head = {
    name: value
    for name, value in _base_.model.head.items()
    if name not in ("segmentation_loss", "loss_weighting")
}
model = dict(backbone=dict(type="HRNet"), head=dict(head, type="HeatmapHead", _delete_=True))

train_pipeline = _base_.train_pipeline
train_pipeline[-2].encoder = _base_.codec
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

_base_ = ["mmpose::body_2d_keypoint/simcc/coco/simcc_res50_8xb64-210e_coco-256x192.py"]

custom_imports = dict(imports=["sgpose"], allow_failed_imports=False)

# The head reads HRNet's map of stride 4 in place of ResNet's of stride 32, so it need not upsample.
model = dict(
    backbone=dict(
        _delete_=True,
        type="SGHRNet",
        extra=dict(
            stage1=dict(
                num_modules=1,
                num_branches=1,
                block="BOTTLENECK",
                num_blocks=(4,),
                num_channels=(64,),
            ),
            stage2=dict(
                num_modules=1,
                num_branches=2,
                block="BASIC",
                num_blocks=(4, 4),
                num_channels=(32, 64),
            ),
            stage3=dict(
                num_modules=4,
                num_branches=3,
                block="BASIC",
                num_blocks=(4, 4, 4),
                num_channels=(32, 64, 128),
            ),
            stage4=dict(
                num_modules=3,
                num_branches=4,
                block="BASIC",
                num_blocks=(4, 4, 4, 4),
                num_channels=(32, 64, 128, 256),
            ),
        ),
        init_cfg=dict(
            type="Pretrained",
            checkpoint="https://download.openmmlab.com/mmpose/"
            "pretrain_models/hrnet_w32-36af842e.pth",
        ),
    ),
    head=dict(
        type="SGSimCCHead",
        in_channels=32,
        in_featuremap_size=(48, 64),
        deconv_out_channels=None,
    ),
)

train_pipeline = _base_.train_pipeline
train_pipeline[-2].encoder = dict(
    type="SegmentationTarget", codec=_base_.codec, radius=5.0, mask_size=(48, 64)
)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

_base_ = ["mmpose::body_2d_keypoint/rtmpose/coco/rtmpose-s_8xb256-420e_coco-256x192.py"]

custom_imports = dict(imports=["sgpose"], allow_failed_imports=False)

# The head reads HRNet's coarsest map, of stride 32 like CSPNeXt's; the guided finest one feeds it
# stage by stage. Without guide 'out', which would weight a map that nothing reads.
model = dict(
    backbone=dict(
        _delete_=True,
        type="SGHRNet",
        guide_stages=(2, 3, 4),
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
                multiscale_output=True,
            ),
        ),
        init_cfg=dict(
            type="Pretrained",
            checkpoint="https://download.openmmlab.com/mmpose/"
            "pretrain_models/hrnet_w32-36af842e.pth",
        ),
    ),
    head=dict(type="SGRTMCCHead", in_channels=256),
)

encoder = dict(type="SegmentationTarget", codec=_base_.codec, radius=5.0, mask_size=(48, 64))
train_pipeline = _base_.train_pipeline
train_pipeline[-2].encoder = encoder
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

# The last epochs have a pipeline of their own.
train_pipeline_stage2 = _base_.train_pipeline_stage2
train_pipeline_stage2[-2].encoder = encoder
custom_hooks = _base_.custom_hooks
custom_hooks[1].switch_pipeline = train_pipeline_stage2

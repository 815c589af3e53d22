# Eight stacks, as the paper's row has; MMPose's config has one.
_base_ = [
    "mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_hourglass52_8xb32-210e_coco-256x256.py"
]

model = dict(backbone=dict(num_stacks=8), head=dict(num_stages=8))

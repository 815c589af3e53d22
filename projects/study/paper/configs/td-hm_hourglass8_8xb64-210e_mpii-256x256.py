# Eight stacks, as the paper's row has; MMPose's config has one.
_base_ = [
    "mmpose::body_2d_keypoint/topdown_heatmap/mpii/td-hm_hourglass52_8xb64-210e_mpii-256x256.py"
]

model = dict(backbone=dict(num_stacks=8), head=dict(num_stages=8))

_base_ = ["mmpose::body_2d_keypoint/dekr/coco/dekr_hrnet-w32_8xb10-140e_coco-512x512.py"]

custom_imports = dict(imports=["sgpose"], allow_failed_imports=False)

# The head has no segmentation loss: the guides learn from the pose losses alone.
model = dict(backbone=dict(type="SGHRNet"))

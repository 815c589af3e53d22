_base_ = ["td-hm_sghrnet-w32_8xb64-210e_coco-256x192.py"]

model = dict(backbone=dict(guide_op="none"))

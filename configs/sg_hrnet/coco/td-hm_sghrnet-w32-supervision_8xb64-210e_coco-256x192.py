# The masks are learnt and not used: folded, the network is HRNet itself. Lambda is the paper's;
# compare raw_seg with raw_kpt in the log.
_base_ = ["td-hm_sghrnet-w32_8xb64-210e_coco-256x192.py"]

model = dict(backbone=dict(guide_op="none"))

# The masks are learnt and not used: folded, the network is HRNet itself.
_base_ = ["td-hm_sghrnet-w16_1xb32-60e_lspet-128x96.py"]

model = dict(backbone=dict(guide_op="none"))

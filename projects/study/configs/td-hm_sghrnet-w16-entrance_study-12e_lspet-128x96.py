# The limb masks guide the inputs of stages 3 and 4 at all resolutions, so that all convolutions of
# the stage see them; 1x1 kernels predict them, and the output's maps are only supervised.
_base_ = ["td-hm_sghrnet-w16-limbs_study-12e_lspet-128x96.py"]

model = dict(
    backbone=dict(guide_stages=(3, 4, "out"), guide_target="stage_inputs", guide_kernel_size=1)
)

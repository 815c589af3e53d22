# A run can be resumed whenever it is killed, and goes on as if it never was. A config takes these
# with `default_hooks = _base_.safe_hooks`; a base cannot add to another base's `default_hooks`.
safe_hooks = dict(
    checkpoint=dict(type="AtomicCheckpointHook"),
    epoch_seed=dict(type="EpochSeedHook"),
)

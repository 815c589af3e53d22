# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""A page on this machine to try models on photographs: ``python -m sgpose.page``.

It needs ``pip install "sgpose[page]"`` and, for exported models, neither PyTorch nor MMPose.
"""

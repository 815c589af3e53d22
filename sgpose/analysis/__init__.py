# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""The bodies of tools that compare models and draw data, predictions and curves."""

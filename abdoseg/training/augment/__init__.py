"""Augmentation and synthesis: random transforms, CTs made from label maps, the patch sampler."""

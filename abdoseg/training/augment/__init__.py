"""Augmentation and synthesis: random transforms, CT synthesis from label maps, the patch sampler."""

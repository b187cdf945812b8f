"""Samples for training: crops of scenes, augmented, as features and symbols in files."""

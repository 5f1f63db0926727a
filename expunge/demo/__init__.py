"""`expunge demo`: the product's main job from beginning to end, on real data."""

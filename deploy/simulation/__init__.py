"""Whole meshes on one core: scenarios, the runs of them, what is watched, and what is drawn of it."""

"""The decoder's operations, fused for training on a CPU."""

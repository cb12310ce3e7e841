"""The toy training step written out in kernels, and its optimizer."""

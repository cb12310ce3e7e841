"""The toy post's experiment: data, vectorised ensemble, plain reference loop."""

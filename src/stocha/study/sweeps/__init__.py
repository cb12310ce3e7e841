"""Parameter sweeps: many executions of one notebook, planned, resumable and collected."""

"""Machinery: parameters, notebook execution, sweeps, run store, provenance, claims."""

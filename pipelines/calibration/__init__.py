"""Calibration: from a ranking and unlabelled SR outputs to a rectifier h_theta of a quality model."""

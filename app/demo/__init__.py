"""`discern demo`: the whole loop on real photographs, with simulated subjects."""

"""From SR outputs to the few image pairs worth showing: the MAD competition, Eq. (1)."""

"""From votes to global scores: Eq. (2), its uncertainty, and simulated observers to try it on."""

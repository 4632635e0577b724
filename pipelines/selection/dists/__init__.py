"""DISTS, for all pairs of N images from N passes of the network."""

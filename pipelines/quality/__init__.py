"""Blind quality models q_w: from an image to the features of its encoder and its predicted quality."""

"""From low-resolution images to super-resolved outputs: LR x method -> SR."""

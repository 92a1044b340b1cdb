"""GAN training: the trainer with its losses, penalties, stabilisers, augmentation, optimisers and checkpoints."""

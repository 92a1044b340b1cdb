"""GAN training: trainer, losses, penalties, stabilisers, augmentation, optimisers, EMA and checkpoints."""

"""Reading PyTorch models, in all the ways they lie on a disk."""

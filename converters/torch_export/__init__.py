"""The ``torch.export`` form: a program without user code, in a normal shape that every target takes."""

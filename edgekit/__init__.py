"""Convert trained models to TFLite, ONNX and ExecuTorch, prove each file against its source, and measure it.

The library behind the commands: :func:`edgekit.convert.convert`, :func:`edgekit.profile.profile`,
:func:`edgekit.inspect.inspect`. Nothing is imported here, so that every command starts at once.
"""

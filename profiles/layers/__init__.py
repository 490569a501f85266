"""Where drift begins: tensors inside two files paired, compared, and the first layer that breaks."""

"""What models are for, measured with labels; one file each."""

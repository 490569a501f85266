"""Numbers out: runtimes, devices, the measuring program and the arithmetic on what it wrote."""

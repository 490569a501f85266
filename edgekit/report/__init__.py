"""Reports for people. JSON is :func:`edgekit.types.to_json`."""

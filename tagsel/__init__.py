"""tagsel."""

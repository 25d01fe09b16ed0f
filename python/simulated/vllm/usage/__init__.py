"""Usage reporting names (nothing is ever reported)."""

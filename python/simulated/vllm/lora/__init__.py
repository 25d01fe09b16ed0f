"""LoRA request type."""

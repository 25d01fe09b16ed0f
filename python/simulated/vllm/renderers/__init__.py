"""What vLLM makes prompts of."""

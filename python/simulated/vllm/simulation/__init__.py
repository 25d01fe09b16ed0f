"""What stands in for a model and a GPU: scheduler, KV blocks, tokens, wire, ZMTP."""

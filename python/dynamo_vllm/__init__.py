"""The guest: all the Python that Dynamo.Vllm owns. It drives vLLM and talks to the host in flat buffers."""

"""Real vLLM as a worker: writes the model folders that need no download, starts vLLM and ends it again."""

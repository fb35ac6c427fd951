"""VTC inside vLLM: runs in the engine's process, under vLLM's interpreter, which has nothing else of this program."""

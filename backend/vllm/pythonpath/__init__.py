"""The folder that goes on the `PYTHONPATH` of a vLLM that orders its own queue: one package of an unmistakable name.

Nothing else lies here, so that nothing of vLLM's environment is hidden by it.
"""

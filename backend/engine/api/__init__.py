"""vLLM 0.32's HTTP dialects over the embedded engine: requests read as vLLM reads them, answers in its key order.

Every body is built by hand in the order of vLLM's response models, because that order is part of what a gateway may
rely on. Streams leave one event a write. Nothing here decides when a token appears.
"""

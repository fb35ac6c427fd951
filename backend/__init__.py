"""The engines that a gateway stands in front of: the embedded one, a supervisor for processes, a launcher of vLLM."""

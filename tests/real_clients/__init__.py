"""The clients that people point at a gateway, each as it is published, against one in front of embedded engines."""

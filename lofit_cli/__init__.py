"""LoFiT (arXiv 2406.01563) experiments from the command line."""

__version__ = "0.1.0"

"""What runs leave on disk: safetensors, JSON, JSON lines and Parquet, each written under a temporary name first."""

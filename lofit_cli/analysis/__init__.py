"""What results mean: intervals and paired tests."""

"""What results mean: intervals and paired tests; how alike selections of heads are."""

"""What can go wrong before a long run, checked one thing at a time."""

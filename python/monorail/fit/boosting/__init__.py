"""What the boosters' trainers share, and the parts of each that are more than parameters."""

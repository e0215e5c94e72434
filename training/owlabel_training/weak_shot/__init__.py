"""SimFormer: masks of novel classes from image tags."""

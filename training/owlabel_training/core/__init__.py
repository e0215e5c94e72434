"""What all trainings share: recipes, data, losses, loops, logs."""

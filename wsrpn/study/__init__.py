"""Many trainings that answer one question: ablations (`ablate`) and searches (`tune`)."""

"""Multi-objective generative optimisation."""

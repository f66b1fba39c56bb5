"""The theory of Goodfellow et al. 2014: value function, optima and exactly solvable games."""

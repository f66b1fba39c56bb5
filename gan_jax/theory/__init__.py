"""What the 2014 paper proves, as code: the game's value, its optima, and exactly solvable games."""

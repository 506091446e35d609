"""Pictures of Gaussians: where they are, what shape they have, how many there are (the paper's Figures 6 and 9)."""

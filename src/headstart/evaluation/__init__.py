"""What is found out about data and models: checks of the images, learning curves, explanations, shift."""

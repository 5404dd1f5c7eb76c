"""What is learned. Each task is a stream of tokens with a train and a held-out part."""

"""What is done with the scored tiles of several slides: calibrate, evaluate, draw."""

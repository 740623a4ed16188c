"""What comes from outside, and why it is believed."""

"""The networks of encoders and decoders, and what they are made of."""

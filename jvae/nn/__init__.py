"""The networks of encoders and decoders, and their layers."""

"""The exercises and studies, one module each, beside their derivations."""

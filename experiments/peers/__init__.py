"""What jvae is compared with."""

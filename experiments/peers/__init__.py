"""The programs that jvae is compared with."""

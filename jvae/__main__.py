"""`python -m jvae`: the command line."""

from jvae.cli.main import main

if __name__ == "__main__":
    main(prog_name="jvae")

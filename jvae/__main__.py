"""`python -m jvae`: the command line; signals are handled before the slow imports."""

import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # this module is imported to be run
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # before it is handled, and after: Ctrl-C ends without a traceback

from jvae.cli.interruption import ending_at_once, listening
from jvae.cli.streams import open_streams


def main() -> None:
    """Run the command line and exit."""
    open_streams()  # first, or another file could take a closed stream's descriptor
    with ending_at_once(), listening():
        from jvae.cli.main import main

        main(prog_name="jvae")


if __name__ == "__main__":
    main()

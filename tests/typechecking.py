"""The type checker of the tests: beartype, which accepts an int as a float, as PEP 484 says."""

from beartype import BeartypeConf, beartype

typechecked = beartype(conf=BeartypeConf(is_pep484_tower=True))

"""What pyproject.toml says, refused with a plain word by a setuptools that cannot read it."""

import setuptools

if int(setuptools.__version__.split(".")[0]) < 77:
    raise SystemExit(
        f"wit400m is built with setuptools 77 or newer, and this is {setuptools.__version__}: "
        "run `pip install -U setuptools`, or leave --no-build-isolation out"
    )
setuptools.setup()

"""HTML pages that need nothing beside them: every text in them is escaped, and figures are inside."""

import base64
from pathlib import Path

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lofit_cli.console import visible


def new_environment(*packages: str) -> Environment:
    """Return an environment whose templates lie in packages, of two of one name the first; texts are escaped."""
    return Environment(
        loader=ChoiceLoader([PackageLoader(package, "") for package in packages]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: value if isinstance(value, Markup) else visible(str(value)),
        trim_blocks=True,
        lstrip_blocks=True,
    )


def inline_png(file: Path) -> str:
    """Return a PNG file as the address of an image."""
    return f"data:image/png;base64,{base64.b64encode(file.read_bytes()).decode()}"

"""Print the lowest versions that pyproject.toml allows, as constraints for pip."""

import re
import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
requirements = list(project["dependencies"])
for extra in ("stac", "cluster", "plot", "cli"):
    requirements += project["optional-dependencies"][extra]
for requirement in requirements:
    name, version = re.match(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", requirement).groups()
    sys.stdout.write(
        (f"{name}=={version}.*" if version.count(".") < 2 else f"{name}=={version}") + "\n"
    )

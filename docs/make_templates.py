"""Writes docs/dataflow/templates/STAGE.json: the metadata of the flex templates, of the options of every stage.

python docs/make_templates.py
"""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from jobs.lead import describe_template  # noqa: E402
from pipeline.base.flow import STAGES  # noqa: E402


def describe_templates() -> dict[str, str]:
    """The text of each file, by its name."""
    return {
        f"{stage}.json": json.dumps(describe_template(stage), indent=1, ensure_ascii=False) + "\n" for stage in STAGES
    }


if __name__ == "__main__":
    folder = ROOT / "docs" / "dataflow" / "templates"
    folder.mkdir(exist_ok=True)
    for name, text in describe_templates().items():
        (folder / name).write_text(text)

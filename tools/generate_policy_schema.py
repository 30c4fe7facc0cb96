"""Write isolate_fn/policy/toml/policy.schema.json from the table of keys that the reader of policy files goes by.

python tools/generate_policy_schema.py            # rewrite the schema
python tools/generate_policy_schema.py --check    # exit 1 when it is not what would be written
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from isolate_fn.policy.toml.schema import schema_text  # noqa: E402

OUTPUT = ROOT / "isolate_fn" / "policy" / "toml" / "policy.schema.json"


def main() -> int:
    """Write the schema, or compare it; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    wanted = schema_text()
    if parser.parse_args().check:
        if OUTPUT.exists() and OUTPUT.read_text(encoding="utf-8") == wanted:
            return 0
        sys.stderr.write(f"{OUTPUT.name} is not up to date: run python tools/generate_policy_schema.py\n")
        return 1
    OUTPUT.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

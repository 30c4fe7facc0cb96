"""XML from strangers: an entity that names a local file must not bring that file's content into the answer.

The attack: XXE, an external entity with a file:// address. The parser here resolves entities, as older
versions of lxml do by default and as many programs ask it to.

Needs: pip install lxml
"""

import tempfile
from pathlib import Path

from isolate_fn import isolated

ORDER = """<!DOCTYPE order [<!ENTITY note SYSTEM "{address}">]>
<order><item>book</item><note>&note;</note></order>"""


@isolated(timeout=10)
def read_order(document: str) -> dict[str, str]:
    from lxml import etree

    # recover=True: go on where an entity cannot be had, instead of refusing the whole document.
    parser = etree.XMLParser(resolve_entities=True, recover=True)
    root = etree.fromstring(document, parser)
    return {str(child.tag): "".join(child.itertext()) for child in root}


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        secret = Path(directory) / "password.txt"
        secret.write_text("hunter2")
        document = ORDER.format(address=secret.as_uri())
        print("unprotected:", read_order.__wrapped__(document))
        print("isolated:   ", read_order(document))


if __name__ == "__main__":
    main()

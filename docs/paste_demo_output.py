"""Put what `make demo` printed into the README: `python docs/paste_demo_output.py FILE`."""

import re
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
BEGIN = "<!-- demo output: python docs/paste_demo_output.py FILE -->"
END = "<!-- end of demo output -->"
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def pasted(readme: str, output: str) -> str:
    """The README with `output` between its markers; colours and redrawn lines are left out."""
    before, found, rest = readme.partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not (found and closed):
        raise SystemExit(f"{README.name} has no place for it: {BEGIN} ... {END}")
    lines = _CONTROL.sub("", output).replace("\r\n", "\n").split("\n")
    shown = "\n".join(line.rsplit("\r", 1)[-1].rstrip() for line in lines).strip("\n")
    return f"{before}{BEGIN}\n\n```text\n{shown}\n```\n\n{END}{after}"


def main() -> None:
    """Read the captured output and rewrite the README."""
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    output = Path(sys.argv[1]).read_text(encoding="utf-8")
    README.write_text(pasted(README.read_text(encoding="utf-8"), output), encoding="utf-8")


if __name__ == "__main__":
    main()

"""Two processes fill the GPU at the same time: of one quota both get no more than one would."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

CHILDREN = 2
PROGRAM = Path(__file__).with_name("fill_driver.py")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        together = [f"--board={folder}/full", f"--parties={CHILDREN}"]
        children = [
            subprocess.Popen(
                [sys.executable, str(PROGRAM), *sys.argv[1:], *together], stdout=subprocess.PIPE, text=True
            )
            for _ in range(CHILDREN)
        ]
        answers = [json.loads(child.communicate()[0]) for child in children]
    refusals = [answer["refusal"] for answer in answers]
    sums = {name: sum(answer[name] for answer in answers) for name in ("got_bytes", "again_bytes")}
    refusal = None if None in refusals else refusals[0]
    sums["each_bytes"] = [answer["got_bytes"] for answer in answers]
    print(json.dumps({**answers[0], **sums, "refusal": refusal}))


if __name__ == "__main__":
    main()

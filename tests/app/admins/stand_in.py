"""A stand-in for an upstream program, which makes as many outputs as it is allowed to, and then waits."""

import argparse
import json
import os
import time
from pathlib import Path

from PIL import Image

SCALE = 4


def main() -> None:
    """Enlarge all images of a folder; `CONTROL/may` says how many in all, `CONTROL/refuse` which it cannot do."""
    parser = argparse.ArgumentParser()
    for name in ("low", "out", "control"):
        parser.add_argument(name, type=Path)
    options = parser.parse_args()
    record(options.control, gpu=os.environ.get("CUDA_VISIBLE_DEVICES"), pid=os.getpid(), folder=str(options.low))
    for path in sorted(options.low.iterdir()):
        if path.stem in (options.control / "refuse").read_text().split():
            print(f"{path.stem}: I would rather not")
            continue
        while len(made(options.control)) >= int((options.control / "may").read_text()):
            time.sleep(0.02)
        with Image.open(path) as image:
            enlarged = image.resize((image.width * SCALE, image.height * SCALE), Image.Resampling.HAMMING)
        enlarged.save(options.out / path.name)
        record(options.control, made=path.stem)


def record(control: Path, **facts: object) -> None:
    """Add to what the program has done."""
    with (control / "events").open("a") as file:
        file.write(json.dumps(facts) + "\n")


def events(control: Path) -> list[dict[str, object]]:
    """What the program has done; a line that is just being written is not there yet."""
    path = control / "events"
    lines = path.read_text().rpartition("\n")[0].splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def made(control: Path) -> list[str]:
    """The images whose outputs it has written, in order."""
    return [str(event["made"]) for event in events(control) if "made" in event]


if __name__ == "__main__":
    main()

"""Write both corpora in demo size: ``python -m tests.synthesis DEST [--seed N]``."""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.synthesis import make_emodb, make_ravdess

RAVDESS_REPETITIONS = (1,)
EMODB_SHARE = 0.43


def main() -> None:
    """Write ``DEST/ravdess`` (8 actors, 240 utterances) and ``DEST/emodb`` (10 speakers, about 230)."""
    parser = argparse.ArgumentParser(prog="python -m tests.synthesis", description=__doc__)
    parser.add_argument("dest", metavar="DEST", type=Path, help="folder to write ravdess and emodb into")
    parser.add_argument("--seed", type=int, default=0, help="seed of the speakers and renditions (default 0)")
    options = parser.parse_args()

    ravdess = make_ravdess(options.dest / "ravdess", repetitions=RAVDESS_REPETITIONS, seed=options.seed)
    print(f"{options.dest / 'ravdess'}: {len(ravdess)} utterances of pseudo-speech by 8 speakers, 48 kHz")
    emodb = make_emodb(options.dest / "emodb", share=EMODB_SHARE, seed=options.seed)
    print(f"{options.dest / 'emodb'}: {len(emodb)} utterances of pseudo-speech by 10 speakers, 16 kHz")


if __name__ == "__main__":
    main()

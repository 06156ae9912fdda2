"""The names of ImageNet's classes, in the order in which trained models answer with them.

    python3 scripts/labels.py WHEEL > resnet50-v1-12.labels.txt

They stand in the data files of the timm wheel (Apache-2.0), which give WordNet's words for each class. One class a
line: what `spotscale inference` reads beside a model.
"""

import sys
import zipfile

from download import Failed

FOLDER = "timm/data/_info"
CLASSES = 1000


def page(wheel):
    with zipfile.ZipFile(wheel) as file:
        def lines(name):
            return file.read(f"{FOLDER}/{name}").decode().splitlines()

        words = dict(line.split("\t", 1) for line in lines("imagenet_synset_to_lemma.txt"))
        names = [words[synset] for synset in lines("imagenet_synsets.txt")]
    if len(names) != CLASSES:
        raise Failed(f"{wheel} names {len(names)} classes, not {CLASSES}")
    return "".join(f"{name}\n" for name in names)


if __name__ == "__main__":
    try:
        sys.stdout.write(page(sys.argv[1]))
    except Failed as error:
        sys.exit(f"labels: {error}")

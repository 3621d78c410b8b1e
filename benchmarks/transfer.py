"""What contrastive training is worth on CIFAR-10: linear probe and fine-tuning, beside the model with random weights.

    python benchmarks/transfer.py --model demo-data/model --cifar cifar10.tar

CIFAR is a tar of CLASS/NAME.jpg. Every third image of a class, in name order, is a test image. Prints a table.
"""

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections import defaultdict

EVALUATIONS = ("linear-probe", "finetune")


def split_images(cifar: str, folder: str) -> list[str]:
    """Writes FOLDER/{train,test}/CLASS/; returns the classes."""
    of_class = defaultdict(list)
    with tarfile.open(cifar) as tar:
        for member in tar:
            if member.isfile():
                of_class[os.path.dirname(member.name)].append(member)
        for label, members in of_class.items():
            for number, member in enumerate(sorted(members, key=lambda member: member.name)):
                part = os.path.join(folder, "test" if number % 3 == 2 else "train", os.path.basename(label))
                os.makedirs(part, exist_ok=True)
                content = tar.extractfile(member)
                assert content is not None
                with open(os.path.join(part, os.path.basename(member.name)), "wb") as file:
                    file.write(content.read())
    return sorted(os.path.basename(label) for label in of_class)


def measure(command: list[str], folder: str) -> dict:
    """Runs a command of clip_train; returns its figures."""
    figures = os.path.join(folder, "figures.json")
    subprocess.run(
        [sys.executable, "-m", "clip_train", *command, "--json", figures], check=True, stdout=subprocess.DEVNULL
    )
    with open(figures) as file:
        return json.load(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a run of clip_train, or a checkpoint")
    parser.add_argument("--cifar", required=True, help="tar of CLASS/NAME.jpg")
    parser.add_argument("--epochs", type=int, default=20, help="of fine-tuning [20]")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="of fine-tuning [0.001]")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        classes = split_images(arguments.cifar, folder)
        with open(os.path.join(folder, "classes.txt"), "w") as file:
            file.writelines(f"{label}\n" for label in classes)
        data = ["--checkpoint", arguments.model, "--classes", os.path.join(folder, "classes.txt")]
        data += ["--train", os.path.join(folder, "train"), "--test", os.path.join(folder, "test")]
        tuning = ["--epochs", str(arguments.epochs), "--learning-rate", str(arguments.learning_rate)]
        tuning += ["--wise-ft", "1", "--output", os.path.join(folder, "classifier")]
        print(f"{'weights':10} {'linear probe':>14} {'fine-tuned':>12}")
        for weights, flags in (("trained", []), ("random", ["--random-weights"])):
            head = ["--head", "zeros"]
            probe = measure(["evaluate", "linear-probe", *data, *flags], folder)
            tuned = measure(["finetune", *data, *tuning, *head, *flags], folder)
            print(f"{weights:10} {probe['top1']:14.1%} {tuned['wise_ft']['1.0']['top1']:12.1%}", flush=True)


if __name__ == "__main__":
    main()

"""What contrastive training is worth on CIFAR-10: linear probe and fine-tuning, beside the model with random weights.

    python benchmarks/transfer.py --model demo-data/model --cifar cifar10.tar

CIFAR is a tar of CLASS/NAME.jpg. Its images are dealt into three parts; each part in turn is the test set and the
others the training set, so every image is tested once. Prints the mean of the three accuracies, and each.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections import defaultdict

PARTS = 3


def split_images(cifar: str, folder: str) -> list[str]:
    """Writes FOLDER/PART/{train,test}/CLASS/ for every part; returns the classes."""
    of_class = defaultdict(list)
    with tarfile.open(cifar) as tar:
        for member in tar:
            if member.isfile():
                of_class[os.path.dirname(member.name)].append(member)
        for label, members in of_class.items():
            for number, member in enumerate(sorted(members, key=lambda member: member.name)):
                content = tar.extractfile(member)
                assert content is not None
                image = content.read()
                for part in range(PARTS):
                    role = "test" if number % PARTS == part else "train"
                    place = os.path.join(folder, str(part), role, os.path.basename(label))
                    os.makedirs(place, exist_ok=True)
                    with open(os.path.join(place, os.path.basename(member.name)), "wb") as file:
                        file.write(image)
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
        for weights, flags in (("trained", []), ("random", ["--random-weights"])):
            probes, tunings = [], []
            for part in range(PARTS):
                data = ["--checkpoint", arguments.model, "--classes", os.path.join(folder, "classes.txt"), *flags]
                for role in ("train", "test"):
                    data += [f"--{role}", os.path.join(folder, str(part), role)]
                tuning = ["--epochs", str(arguments.epochs), "--learning-rate", str(arguments.learning_rate)]
                tuning += ["--head", "zeros", "--wise-ft", "1"]
                tuning += ["--output", os.path.join(folder, f"{weights}-{part}")]
                probes.append(measure(["evaluate", "linear-probe", *data], folder)["top1"])
                tunings.append(measure(["finetune", *data, *tuning], folder)["wise_ft"]["1.0"]["top1"])
            print(f"{weights:8} linear probe {describe(probes)}, fine-tuned {describe(tunings)}", flush=True)


def describe(accuracies: list[float]) -> str:
    return f"{statistics.mean(accuracies):.1%} ({', '.join(f'{accuracy:.1%}' for accuracy in accuracies)})"


if __name__ == "__main__":
    main()

"""Asks a served model about pictures in folders of classes, or rows of a CSV file, and counts what is right.

python ask.py parts data/night
python ask.py pump data/new-sensor.csv --times 3
"""

import argparse
import csv
import json
import urllib.request
from pathlib import Path

import numpy as np
from PIL import Image


def samples(path):
    """(values, shape, type of the values, label) of each."""
    if path.suffix == ".csv":
        for row in csv.DictReader(path.open(newline="")):
            label = row.pop("label")
            yield [float(value) for value in row.values()], [1, len(row)], "FP32", label
    else:
        for file in sorted(path.glob("*/*.png")):
            x = np.asarray(Image.open(file).convert("L"))
            yield x.reshape(-1).tolist(), [1, *x.shape], "UINT8", file.parent.name


def ask(url, task, values, shape, datatype):
    """The class that the model says, and which model it is."""
    body = {"inputs": [{"name": "input", "shape": shape, "datatype": datatype, "data": values}]}
    request = urllib.request.Request(f"{url}/v2/models/{task}/infer", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=10) as reply:
        answer = json.load(reply)
    output = next(out for out in answer["outputs"] if out["name"] == "output")
    return int(np.argmax(output["data"])), answer["model_version"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("task")
    parser.add_argument("path", type=Path)
    parser.add_argument("--url", default="http://127.0.0.1:7460")
    parser.add_argument("--times", type=int, default=1)
    options = parser.parse_args()
    with urllib.request.urlopen(f"{options.url}/v2/models/{options.task}", timeout=10) as reply:
        classes = json.load(reply)["parameters"]["classes"]
    found = []
    given = list(samples(options.path)) * options.times
    for i in np.random.default_rng(0).permutation(len(given)):
        *sample, label = given[i]
        said, version = ask(options.url, options.task, *sample)
        found.append(classes[said] == label)
    print(f"{sum(found)} of {len(found)} right, says model {version}")


if __name__ == "__main__":
    main()

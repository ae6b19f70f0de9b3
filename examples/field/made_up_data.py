"""Data in the place of your own, so that the example runs: python made_up_data.py

data/parts, data/pump.csv           what the first model learns from
data/night, data/new-sensor.csv     what comes later: the lamp is off and the camera sees infrared;
                                    two sensors were replaced by others that show something else
"""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

PARTS, STATES = ("bolt", "nut", "washer"), ("well", "worn", "clogged")
COLUMNS = ("current_a", "pressure_bar", "flow_l_min", "vibration_mm_s", "temperature_c", "valve")
READINGS = {  # means of each state
    "well": (3.0, 2.6, 20.0, 0.9, 40.0, 0.7),
    "worn": (3.1, 2.2, 17.0, 1.9, 44.0, 0.7),
    "clogged": (2.8, 3.2, 12.0, 1.1, 42.0, 0.7),
}
SPREAD = (0.15, 0.12, 1.2, 0.2, 2.0, 0.15)


def picture(part, rng, night=False):
    """Bright parts on a dark belt; at night dark ones on a bright belt."""
    y, x = np.mgrid[:16, :16] - rng.uniform(6.5, 8.5, (2, 1, 1))
    size, far = rng.uniform(3.5, 5), np.hypot(x, y)
    shape = {
        "bolt": (abs(x) < 1.3) & (abs(y) < size + 1) | (abs(y) < 1.3) & (abs(x) < size - 1),
        "nut": (np.maximum(abs(x), abs(y)) < size - 0.5) & (far > 1.5),
        "washer": (far < size + 0.5) & (far > size - 1.5),
    }[part]
    light = np.where(shape, 200.0, 50.0) + rng.normal(0, 18, (16, 16))
    return np.clip(230 - light if night else light, 0, 255).astype(np.uint8)


def reading(state, rng, replaced=False):
    row = rng.normal(READINGS[state], SPREAD)
    if replaced:
        row[1] = 6.5 - 1.6 * row[1]
        row[2] = 32 - row[2]
    return row


def main(folder=Path("data")):
    rng = np.random.default_rng(1)
    for name, night, count in (("parts", False, 300), ("night", True, 60)):
        for part in PARTS:
            (folder / name / part).mkdir(parents=True, exist_ok=True)
            for i in range(count):
                Image.fromarray(picture(part, rng, night)).save(folder / name / part / f"{i:03}.png")
    for name, replaced, count in (("pump", False, 900), ("new-sensor", True, 180)):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow([*COLUMNS, "label"])
            for i in range(count):
                state = STATES[i % 3]
                table.writerow([*(f"{value:.3f}" for value in reading(state, rng, replaced)), state])


if __name__ == "__main__":
    main()

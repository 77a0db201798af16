"""Single stage against progressive distillation at 4, 16 and 64 times fewer parameters; there is no target to be met.

    nice python benchmarks/distillation_stages.py [--seeds 5]                minutes on two cores; goes on after a kill

Teacher: DigitsCNN, trained on all labels of digits. Students: what scale_model makes of it, with 50 labels and 1027 images
without. Progressive: teacher, assistant(s), student, 20 epochs each. Single stage: teacher, student, for 20 epochs, and
for as many as all the stages had together. The student starts from the same weights. Accuracy is on test, once; mean and 95%
interval over seeds (Student's t), of the gain as paired differences.
"""

import argparse
import copy
import json
from dataclasses import replace

import results
import torch
from intervals import points
from recipes import state_folder
from rich.console import Console
from rich.progress import track
from rich.table import Table

from tinyshrink import data, distillation, files, metrics, models, training

EPOCHS, LABELS = 20, 50
STAGES = {4: (2, 4), 16: (4, 16), 64: (4, 16, 64)}  # how many times smaller after each stage
ALONE, SINGLE, LONGER, PROGRESSIVE = "labels alone", "single stage", "single stage, as long", "progressive"


def run(seed):
    """{"16/progressive": accuracy on test, "16/size": parameters, ...} of one seed."""
    digits = data.load("digits")
    torch.manual_seed(seed)
    teacher = models.DigitsCNN()
    options = {"seed": seed, "progress": False}
    training.train(teacher, digits, 20, **options)
    few, rest = distillation.few_labels(digits, LABELS, seed)
    many = data.Split(few.train.x.repeat(22, 1, 1, 1), few.train.y.repeat(22))  # an epoch of as many steps
    size = metrics.count_parameters(teacher)
    result = {"teacher": training.evaluate(teacher, digits.test)}
    for factor, stages in STAGES.items():
        *assistants, untrained = (distillation.scale_model(teacher, size // stage) for stage in stages)
        single, longer, last, alone = (copy.deepcopy(untrained) for _ in range(4))
        soft = {"unlabelled": rest, **options}
        distillation.distill(single, teacher, few, EPOCHS, **soft)
        distillation.distill(longer, teacher, few, EPOCHS * len(stages), **soft)
        distillation.progressive_distill(teacher, *assistants, last, data=few, epochs=EPOCHS, **soft)
        training.train(alone, replace(few, train=many), EPOCHS, **options)
        result[f"{factor}/size"] = metrics.count_parameters(untrained)
        for way, model in ((ALONE, alone), (SINGLE, single), (LONGER, longer), (PROGRESSIVE, last)):
            result[f"{factor}/{way}"] = training.evaluate(model, digits.test)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    seeds = parser.parse_args().seeds
    kept = state_folder(__file__) / "runs.json"
    runs = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    for seed in track(range(seeds), description="seeds"):
        if str(seed) not in runs:
            runs[str(seed)] = run(seed)
            with files.whole(kept) as part:
                part.write_text(json.dumps(runs), encoding="utf-8")
    rows = [runs[str(seed)] for seed in range(seeds)]
    size = metrics.count_parameters(models.DigitsCNN())
    title = f"DigitsCNN of {size:,} parameters as teacher, {LABELS} labels, {seeds} seeds"
    table = Table("asked", "student", "way", "accuracy on test, %", "against single stage, pp", title=title)
    collected = []
    for factor in STAGES:
        for way in (ALONE, SINGLE, LONGER, PROGRESSIVE):
            values = [row[f"{factor}/{way}"] for row in rows]
            gains = [value - row[f"{factor}/{SINGLE}"] for value, row in zip(values, rows)]
            student = f"{rows[0][f'{factor}/size']:,}"
            table.add_row(f"{factor}x", student, way, points(values, sign=""), "" if way == SINGLE else points(gains))
            if way != SINGLE:
                what, note = f"digits, student {factor}x smaller, {way}: gain", f"{points(values, sign='')}%"
                minor = way != PROGRESSIVE or factor < 64
                options = {"anchor": SINGLE, "seeds": seeds, "note": note, "detail": minor}
                collected.append(results.row(what, gains, "pp", **options))
        table.add_section()
    Console(width=110).print(table)
    print(f"the teacher, with all labels, %: {points([row['teacher'] for row in rows], sign='')} (one test digit is 0.28 pp)")
    results.record("04_distillation", collected, [kept])
    kept.unlink()


if __name__ == "__main__":
    main()

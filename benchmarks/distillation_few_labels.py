"""Project 2 of the course. Claim: a tiny transformer makes a CNN with at most 10% of its parameters better, from few labels.

    nice python benchmarks/distillation_few_labels.py digits [--seeds 5]       minutes on two cores; goes on after a kill
    nice python benchmarks/distillation_few_labels.py mnist

The teacher saw all labels of its training images. The student has 50 labels of digits (100 of MNIST) and images without; each
way of training it starts from the same weights and takes as many steps of the same size. Accuracy is on test, once; mean
and 95% interval over seeds (Student's t), of the gain as paired differences. The recipe was chosen on validation. The last two
rows give the student all labels: where distillation has less to offer.
"""

import argparse
import copy
import json
from dataclasses import dataclass, replace

import results
import torch
from intervals import interval, points
from recipes import state_folder
from rich.console import Console
from rich.progress import track
from rich.table import Table

from tinyshrink import data, distillation, files, metrics, models, training

TEMPERATURE, ALPHA, BATCH = 4.0, 0.9, 64
ALONE, DISTILLED = "labels alone", "distilled, with unlabelled images"
HARD, NO_IMAGES = "teacher's classes for labels", "distilled, no unlabelled images"
FULL, FULL_DISTILLED = "all labels alone", "all labels, distilled"


@dataclass(frozen=True)
class Setting:
    teacher: models.Transformer
    student: models.DigitsCNN
    images: int  # that the teacher learns from
    student_images: int  # of which the student gets some
    labels: int
    teacher_epochs: int
    teacher_lr: float
    epochs: int


def setting(name):
    if name == "digits":
        return Setting(models.Transformer(), models.DigitsCNN(), 1077, 1077, 50, 30, 3e-3, 20)
    teacher = models.Transformer(size=28, patch=7, depth=4)
    return Setting(teacher, models.DigitsCNN(size=28), 10_000, 1000, 100, 10, 2e-3, 30)


def first(split, count):
    return data.Split(split.x[:count], split.y[:count])


def repeated(dataset, steps):
    """The training images again and again, so that one epoch has `steps` steps."""
    x, y = dataset.train
    order = torch.arange(steps * BATCH) % len(y)
    return replace(dataset, train=data.Split(x[order], y[order]))


def run(name, seed):
    """{way: accuracy on test} for one seed, with the teacher's and both parameter counts."""
    chosen, everything = setting(name), data.load(name)
    validation = first(everything.validation, 1000)
    seen = replace(everything, train=first(everything.train, chosen.images), validation=validation)
    torch.manual_seed(seed)
    teacher = type(chosen.teacher)(**chosen.teacher.settings)
    optimizer = torch.optim.AdamW(teacher.parameters(), chosen.teacher_lr, weight_decay=0.05)
    training.train(teacher, seen, chosen.teacher_epochs, optimizer=optimizer, seed=seed, progress=False)
    untrained = distillation.scale_model(chosen.student, metrics.count_parameters(teacher) // 10)
    full = replace(seen, train=first(seen.train, chosen.student_images))
    few, rest = distillation.few_labels(full, chosen.labels, seed)
    with torch.no_grad(), distillation.frozen(teacher):
        classes = teacher(rest).argmax(1)
    hard = replace(few, train=data.Split(torch.cat([few.train.x, rest]), torch.cat([few.train.y, classes])))
    steps = -(-chosen.student_images // BATCH)
    options = {"seed": seed, "progress": False, "batch_size": BATCH}
    soft = {"temperature": TEMPERATURE, "alpha": ALPHA, **options}
    ways = {
        ALONE: lambda student: training.train(student, repeated(few, steps), chosen.epochs, **options),
        DISTILLED: lambda student: distillation.distill(student, teacher, few, chosen.epochs, unlabelled=rest, **soft),
        HARD: lambda student: training.train(student, hard, chosen.epochs, **options),
        NO_IMAGES: lambda student: distillation.distill(student, teacher, repeated(few, steps), chosen.epochs, **soft),
        FULL: lambda student: training.train(student, full, chosen.epochs, **options),
        FULL_DISTILLED: lambda student: distillation.distill(student, teacher, full, chosen.epochs, **soft),
    }
    result = {"teacher": training.evaluate(teacher, everything.test)}
    result["counts"] = [metrics.count_parameters(model) for model in (teacher, untrained)]
    for way, train in ways.items():
        student = copy.deepcopy(untrained)
        train(student)
        result[way] = training.evaluate(student, everything.test)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=("digits", "mnist"))
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    kept = state_folder(__file__) / f"{options.data}.json"
    runs = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    for seed in track(range(options.seeds), description="seeds"):
        if str(seed) not in runs:
            runs[str(seed)] = run(options.data, seed)
            with files.whole(kept) as part:
                part.write_text(json.dumps(runs), encoding="utf-8")
    rows = [runs[str(seed)] for seed in range(options.seeds)]
    chosen, (large, small) = setting(options.data), rows[0]["counts"]
    title = f"{options.data}, seeds: {len(rows)}; Transformer of {large:,} parameters, CNN of {small:,} ({small / large:.1%})"
    table = Table("student", "accuracy on test, %", "gain, pp", "target, pp", "met", title=title)
    collected = []
    bases = {ALONE: None, DISTILLED: ALONE, HARD: ALONE, NO_IMAGES: ALONE, FULL: None, FULL_DISTILLED: FULL}
    for way, base in bases.items():
        if way == FULL:
            table.add_section()
        accuracy = points([row[way] for row in rows], sign="")
        gains = [row[way] - row[base] for row in rows] if base else None
        middle, width = interval(gains) if base else (0, 0)
        met = ("yes" if middle - width > 0 and small <= large / 10 else "NO") if way == DISTILLED else ""
        met = "one run" if met and len(rows) == 1 else met
        table.add_row(way, accuracy, points(gains) if base else "", "interval above 0" if met else "", met)
        if base:
            what = (
                f"{options.data}, {chosen.labels} labels, CNN with {small / large:.1%} of its teacher's parameters, {way}: gain"
            )
            goal = {"least": 0, "met": met == "yes"} if way == DISTILLED else {"detail": way == HARD}
            note, basis = f"{accuracy}%", f"{base}, {points([row[base] for row in rows], sign='')}%"
            collected.append(results.row(what, gains, "pp", anchor=basis, seeds=len(rows), note=note, **goal))
    Console(width=110).print(table)
    print(f"the teacher, with all labels of {chosen.images:,} images, %: {points([row['teacher'] for row in rows], sign='')}")
    gains = points([row[DISTILLED] - row[HARD] for row in rows])
    print(f"what soft targets gain over the teacher's bare classes as labels, pp: {gains}")
    print(f"the student has {chosen.labels} labels of {chosen.student_images:,} images, or all of them (last two rows)")
    results.record("04_distillation", collected, [kept])
    kept.unlink()


if __name__ == "__main__":
    main()

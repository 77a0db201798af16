import itertools
import warnings

import numpy as np

from tinyshrink.distillation import DIFFICULTY


def _plan(parameters, compression, stages):
    return [round(parameters / compression ** (stage / stages)) for stage in range(1, stages + 1)]


def _stages(difficulty):
    stages = 1 if difficulty <= 4 else 2 if difficulty <= 16 else 3
    if stages == 3:
        warnings.warn("that is far", stacklevel=3)
    return stages


def wrong_effective_compression(parameters, compression, architecture="transformer"):
    """Fails test_plan_stages_by_the_rule: divides by compression times difficulty, as the plan on the web, and misses."""
    effective = compression * DIFFICULTY[architecture]
    return _plan(parameters, effective, _stages(effective))


def wrong_without_difficulty(parameters, compression, architecture="transformer"):
    """Fails test_plan_stages_by_the_rule: the architecture makes no difference."""
    return _plan(parameters, compression, _stages(compression))


def wrong_divides_by_difficulty(parameters, compression, architecture="transformer"):
    """Fails test_plan_stages_by_the_rule: divides, so that RNNs count as easy."""
    return _plan(parameters, compression, _stages(compression / DIFFICULTY[architecture]))


def wrong_below_4(parameters, compression, architecture="transformer"):
    """Fails test_plan_stages_by_the_rule: < for <=, exactly 4 already takes two stages."""
    difficulty = compression * DIFFICULTY[architecture]
    stages = 1 if difficulty < 4 else 2 if difficulty < 16 else 3
    if stages == 3:
        warnings.warn("that is far", stacklevel=2)
    return _plan(parameters, compression, stages)


def wrong_equal_steps(parameters, compression, architecture="transformer"):
    """Fails test_plan_stages_by_the_rule: falls by equal differences, not by equal factors."""
    stages = _stages(compression * DIFFICULTY[architecture])
    return [round(count) for count in np.linspace(parameters, parameters / compression, stages + 1)[1:]]


def wrong_fours_first(parameters, compression, architecture="transformer"):
    """Fails test_plan_stages_by_the_rule: 4x each stage and the rest at the end."""
    stages = _stages(compression * DIFFICULTY[architecture])
    return [*(round(parameters / 4**stage) for stage in range(1, stages)), round(parameters / compression)]


def wrong_with_the_teacher(parameters, compression, architecture="transformer"):
    """Fails test_plan_stages_by_the_rule: the first entry is the teacher, which no stage has trained."""
    return [parameters, *_plan(parameters, compression, _stages(compression * DIFFICULTY[architecture]))]


def wrong_last_only(parameters, compression, architecture="transformer"):
    """Fails test_plan_stages_by_the_rule: only the student's count."""
    return _plan(parameters, compression, _stages(compression * DIFFICULTY[architecture]))[-1:]


def wrong_no_warning(parameters, compression, architecture="transformer"):
    """Fails test_plan_stages_warns_beyond_two_stages: forgets to warn."""
    difficulty = compression * DIFFICULTY[architecture]
    return _plan(parameters, compression, 1 if difficulty <= 4 else 2 if difficulty <= 16 else 3)


def wrong_prints(parameters, compression, architecture="transformer"):
    """Fails test_plan_stages_warns_beyond_two_stages: prints, which no program can catch."""
    difficulty = compression * DIFFICULTY[architecture]
    if difficulty > 16:
        print("WARNING: that is far")
    return _plan(parameters, compression, 1 if difficulty <= 4 else 2 if difficulty <= 16 else 3)


def wrong_warns_always(parameters, compression, architecture="transformer"):
    """Fails test_plan_stages_warns_beyond_two_stages: warns of any compression over 4."""
    if compression > 4:
        warnings.warn("take care", stacklevel=2)
    difficulty = compression * DIFFICULTY[architecture]
    return _plan(parameters, compression, 1 if difficulty <= 4 else 2 if difficulty <= 16 else 3)


def wrong_cut_down(parameters, compression, architecture="transformer"):
    """Fails test_plan_stages_by_the_rule: int() cuts off where round() is asked for."""
    stages = _stages(compression * DIFFICULTY[architecture])
    return [int(parameters / compression ** (stage / stages)) for stage in range(1, stages + 1)]


def wrong_more_stages(parameters, compression, architecture="transformer"):
    """Fails test_plan_stages_on_drawn_sizes: a stage for every factor of 4, beyond the three of the rule."""
    difficulty, stages = compression * DIFFICULTY[architecture], 1
    while 4**stages < difficulty:
        stages += 1
    if stages > 2:
        warnings.warn("that is far", stacklevel=2)
    return _plan(parameters, compression, stages)


def right_geometric(parameters, compression, architecture="transformer"):
    stages = 1 + sum(compression * DIFFICULTY[architecture] > limit for limit in (4, 16))
    if stages > 2:
        warnings.warn(f"{compression}x in three stages seldom goes well", UserWarning, stacklevel=2)
    return [round(float(count)) for count in np.geomspace(parameters, parameters / compression, stages + 1)[1:]]


def right_step_by_step(parameters, compression, architecture="transformer"):
    difficulty = compression * DIFFICULTY[architecture]
    if difficulty <= 4:
        return [round(parameters / compression)]
    if difficulty > 16:
        warnings.warn("this is very small", stacklevel=2)
    stages = 2 if difficulty <= 16 else 3
    factor = compression ** (1 / stages)
    counts = itertools.accumulate([factor] * stages, lambda left, by: left / by, initial=parameters)
    return [round(count) for count in counts][1:]

from tinyshrink.decide import STAGES


def _fits(rule, architecture, hardware, tolerance):
    low, high = rule.tolerance
    inside = low <= tolerance < high or tolerance == high == 1
    return architecture in rule.architectures and hardware in rule.hardware and inside


def _used(rules, architecture, hardware, tolerance):
    return tuple(rule for rule in rules if _fits(rule, architecture, hardware, tolerance))


def wrong_last_rule_wins(rules, architecture, hardware, tolerance):
    """Fails test_fitting_lets_a_no_win_whatever_the_order: a later yes takes a no back."""
    found, wanted = _used(rules, architecture, hardware, tolerance), set()
    for rule in found:
        wanted = wanted | {*rule.stages} if rule.use else wanted - {*rule.stages}
    return tuple(stage for stage in STAGES if stage in wanted), found


def wrong_no_is_not_heard(rules, architecture, hardware, tolerance):
    """Fails test_fitting_lets_a_no_win_whatever_the_order: collects the stages of all rules, the forbidding ones too."""
    found = _used(rules, architecture, hardware, tolerance)
    return tuple(stage for stage in STAGES if any(stage in rule.stages for rule in found)), found


def wrong_no_of_other_architectures(rules, architecture, hardware, tolerance):
    """Fails test_fitting_lets_a_no_win_whatever_the_order: forbids what any rule forbids, whether it fits or not."""
    found = _used(rules, architecture, hardware, tolerance)
    forbidden = {stage for rule in rules if not rule.use for stage in rule.stages}
    wanted = {stage for rule in found if rule.use for stage in rule.stages} - forbidden
    return tuple(stage for stage in STAGES if stage in wanted), found


def wrong_order_of_the_rules(rules, architecture, hardware, tolerance):
    """Fails test_fitting_lets_a_no_win_whatever_the_order: stages in the order in which rules name them: no pipeline."""
    stages, found = right_sets(rules, architecture, hardware, tolerance)
    named = dict.fromkeys(stage for rule in found for stage in rule.stages)
    return tuple(stage for stage in named if stage in stages), found


def wrong_stage_twice(rules, architecture, hardware, tolerance):
    """Fails test_fitting_lets_a_no_win_whatever_the_order: two rules that want a stage put it there twice."""
    stages, found = right_sets(rules, architecture, hardware, tolerance)
    named = [stage for rule in found if rule.use for stage in rule.stages if stage in stages]
    return tuple(sorted(named, key=STAGES.index)), found


def wrong_all_rules_in_the_result(rules, architecture, hardware, tolerance):
    """Fails test_fitting_lets_a_no_win_whatever_the_order: gives back the rules that do not fit too."""
    return right_sets(rules, architecture, hardware, tolerance)[0], tuple(rules)


def wrong_only_rules_that_want(rules, architecture, hardware, tolerance):
    """Fails test_fitting_lets_a_no_win_whatever_the_order: the reason for a no gets lost."""
    stages, found = right_sets(rules, architecture, hardware, tolerance)
    return stages, tuple(rule for rule in found if rule.use)


def wrong_both_ends_of_the_range(rules, architecture, hardware, tolerance):
    """Fails test_fitting_knows_the_ends_of_a_range: at 0.02 two neighbouring ranges fit at once."""
    widened = tuple(rule._replace(tolerance=(rule.tolerance[0], rule.tolerance[1] + 1e-9)) for rule in rules)
    stages, found = right_sets(widened, architecture, hardware, min(tolerance, 1))
    return stages, tuple(rule for rule, wide in zip(rules, widened) if wide in found)


def wrong_nothing_at_one(rules, architecture, hardware, tolerance):
    """Fails test_fitting_knows_the_ends_of_a_range: below the second number, always, so that at 1 nothing fits."""
    fit = [r for r in rules if architecture in r.architectures and hardware in r.hardware]
    return right_sets([r for r in fit if r.tolerance[0] <= tolerance < r.tolerance[1]], architecture, hardware, tolerance)


def wrong_hardware_not_asked(rules, architecture, hardware, tolerance):
    """Fails test_fitting_knows_the_ends_of_a_range: rules for other hardware count as well."""
    open_rules = [rule._replace(hardware=(*rule.hardware, hardware)) for rule in rules]
    return right_sets(open_rules, architecture, hardware, tolerance)


def right_sets(rules, architecture, hardware, tolerance):
    found = _used(rules, architecture, hardware, tolerance)
    wanted = set().union(*(rule.stages for rule in found if rule.use))
    forbidden = set().union(*(rule.stages for rule in found if not rule.use))
    return tuple(sorted(wanted - forbidden, key=STAGES.index)), found


def right_asks_each_stage(rules, architecture, hardware, tolerance):
    found = []
    for rule in rules:
        if _fits(rule, architecture, hardware, tolerance):
            found.append(rule)
    stages = []
    for stage in STAGES:
        opinions = [rule.use for rule in found if stage in rule.stages]
        if opinions and all(opinions):
            stages.append(stage)
    return tuple(stages), tuple(found)


def _fits_with(rule, architecture, hardware, tolerance):
    low, high = rule.tolerance
    inside = low <= tolerance < high or tolerance == high == 1
    return architecture in rule.architectures and hardware in rule.hardware and inside


def wrong_no_outside_its_range(rules, architecture, hardware, tolerance):
    """Fails test_fitting_knows_the_ends_of_a_range: a no counts where architecture and hardware fit, whatever its tolerance."""
    found = tuple(r for r in rules if _fits_with(r, architecture, hardware, tolerance))
    no = {s for r in rules if not r.use and architecture in r.architectures and hardware in r.hardware for s in r.stages}
    yes = {s for r in found if r.use for s in r.stages}
    return tuple(s for s in STAGES if s in yes - no), found


def wrong_rule_removed_when_overruled(rules, architecture, hardware, tolerance):
    """Fails test_fitting_lets_a_no_win_whatever_the_order: rules all of whose stages are forbidden are not returned."""
    found = tuple(r for r in rules if _fits_with(r, architecture, hardware, tolerance))
    no = {s for r in found if not r.use for s in r.stages}
    yes = {s for r in found if r.use for s in r.stages}
    return tuple(s for s in STAGES if s in yes - no), tuple(r for r in found if not r.use or set(r.stages) - no)

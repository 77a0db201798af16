"""Right answers that are odd or loud: they keep their points, and spoil no notebook, no feedback and no terminal."""

from . import EXERCISES, GRADED, must, solved, without

LOUD = """def apply_masks(model, masks):
    {loud}
    with torch.no_grad():
        parameters = dict(model.named_parameters(remove_duplicate=False))
        for name, mask in masks.items():
            if name not in parameters:
                raise KeyError(name)
            if mask.shape != parameters[name].shape:
                raise ValueError(name)
        for name, mask in masks.items():
            parameters[name].masked_fill_(~mask, 0)
"""


def loud(released, source, line, before=""):
    """A notebook that is right, and whose apply_masks begins with `line`."""
    return solved(released, source, apply_masks=before + LOUD.format(loud=line.replace("\n", "\n    ")))


@must("graded", full=EXERCISES)
def warns(released, source):
    return loud(released, source, 'import warnings, sys\nwarnings.warn("to stderr")\nprint("also there", file=sys.stderr)')


@must(*GRADED, full=EXERCISES)
def logs_an_error_that_is_none(released, source):
    return loud(
        released, source, 'import logging, sys\nlogging.error("an error that is none")\nprint("Traceback", file=sys.stderr)'
    )


@must(*GRADED, full=EXERCISES)
def prints_three_hundred_megabytes(released, source):
    return loud(released, source, 'if not printed:\n    printed.append(print("x" * 300_000_000))', "printed = []\n")


@must(*GRADED, full=EXERCISES)
def prints_a_million_lines(released, source):
    return loud(released, source, 'if not printed:\n    printed.append(print("line\\n" * 1_000_000))', "printed = []\n")


@must("graded", full=EXERCISES)
def prints_a_million_faces(released, source):
    """Twelve megabytes on the way out: each is two escapes of six characters in JSON."""
    return loud(released, source, 'if not printed:\n    printed.append(print("\\U0001f600" * 999_000))', "printed = []\n")


@must("graded", full=EXERCISES)
def shows_scripts(released, source):
    notebook = loud(
        released,
        source,
        """from IPython.display import HTML, Javascript, Markdown, display
evil = "<script>alert('tinyshrink')</script><img src=x onerror=alert(1)>"
print(evil)
display(HTML(evil), Javascript("alert(1)"), Markdown(evil))
display({"image/svg+xml": "<svg onload=alert(1)></svg>", "text/html": evil}, raw=True)""",
        before="# <script>alert('source')</script> </pre></details><script>alert('out')</script>\n",
    )
    notebook.metadata["title"] = "</title><script>alert('title')</script>"
    return notebook


@must(*GRADED, full=without("apply_masks"))
def raises_scripts(released, source):
    answer = "def apply_masks(model, masks):\n    raise ValueError(\"<script>alert('raised')</script></p><!-- \")\n"
    return solved(released, source, apply_masks=answer)


@must(*GRADED, full=EXERCISES)
def prints_what_terminals_obey(released, source):
    return loud(
        released, source, 'print("\\x1b[2J\\x1b]0;title\\x07\\x9b31m \\u202e\\u0000\\ufffe \\U0001f600" + "a\\u0301" * 500)'
    )


@must(*GRADED, full=without("apply_masks"))
def raises_what_terminals_obey(released, source):
    answer = 'def apply_masks(model, masks):\n    raise ValueError("\\x1b[2J\\x1b[31m[bold red]\\u202e\\x00\\ud800=1+1")\n'
    return solved(released, source, apply_masks=answer)


@must(*GRADED, full=EXERCISES)
def prints_what_is_no_text(released, source):
    return loud(released, source, 'import sys\ntry:\n    print("\\ud800\\udfff")\nexcept UnicodeError:\n    pass')


@must(*GRADED, full=EXERCISES)
def draws_many_figures(released, source):
    return loud(released, source, "import matplotlib.pyplot as plt\nfor _ in range(30):\n    plt.plot([1, 2])\n    plt.show()")


@must(*GRADED, full=EXERCISES)
def uses_magics(released, source):
    return loud(
        released,
        source,
        "pass",
        before="%matplotlib inline\n%config InlineBackend.figure_format = 'svg'\n!echo hello\n%time 1\n",
    )


@must(*GRADED, full=without("apply_masks"))
def has_a_syntax_error(released, source):
    return solved(released, source, apply_masks="def apply_masks(model, masks)\n    return model 5\n")


@must(*GRADED, full=without("apply_masks"))
def leaves_with_sys_exit(released, source):
    return solved(released, source, apply_masks="import sys\nsys.exit()\n")


@must(*GRADED, full=without("apply_masks"))
def leaves_with_exit(released, source):
    return solved(released, source, apply_masks="def apply_masks(model, masks):\n    exit()\n")


@must(*GRADED, full=EXERCISES)
def has_variables_named_as_builtins(released, source):
    return loud(released, source, "pass", before="max = 3\nsum = 0\ninput = torch.zeros(2)\nlist_ = [1]\n")


@must(*GRADED, full=EXERCISES)
def changes_the_settings_of_the_session(released, source):
    """What people do at the top of a cell and forget."""
    before = """
import os, random
torch.manual_seed(1)
torch.set_printoptions(precision=1)
np.random.seed(3)
random.seed(4)
os.environ["FOO"] = "bar"
os.makedirs("figures", exist_ok=True)
os.chdir("figures")
"""
    return loud(released, source, "pass", before=before)


@must(*GRADED, full=EXERCISES)
def uses_threads_and_processes(released, source):
    before = """
import threading, time
thread = threading.Thread(target=time.sleep, args=(0.1,))
thread.start()
thread.join()
loader = torch.utils.data.DataLoader(list(range(8)), num_workers=2)
print(len(list(loader)))
"""
    return loud(released, source, "pass", before=before)

"""Installed as etc/jupyter/nbgrader_config.py, where JupyterLab's Validate button looks: the training cells of this course
take longer than nbgrader's 30 seconds on a slow or busy machine. An instructor's own nbgrader_config.py goes before it.
"""

c = get_config()  # noqa: F821 (nbgrader provides it)
c.Execute.timeout = 600
c.Execute.iopub_timeout = 60

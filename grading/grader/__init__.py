"""The secure parallel grader: `grade(course, assignment)` grades untrusted submissions beside an ordinary nbgrader course.

grade      finds submissions, spreads them over workers, shows what is going on
worker     one submission: bytes in, a result and an autograded notebook out
repair     the notebook that is run: the course's own with the student's answers
integrity  tripwires against code that cheats its tests
executor   runs cell by cell, survives what cells do
kernels    warm kernels in the sandbox, forked for each submission
inside     the program in the sandbox
sandbox    the bubblewrap command and the limits
writer     the one who writes into the gradebook and the course folder
"""

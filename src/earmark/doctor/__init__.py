"""What is wrong with a data set before anybody trains on it: what `earmark doctor` does.

Every clip is decoded once, at its own rate (`examination`), by processes side by side (`workers`): a file that takes
its decoder down costs that process, not the job. What came out is kept in a line each as it comes (`journal`), so that
the same command goes on wherever it was killed. From these lines and the data set alone follow the findings and the
clips that are clean (`findings`), and from those the files (`report`): no clock and no machine has a say in them, and
a job that was killed ends in the same bytes as one that was not. `run` puts it together.
"""

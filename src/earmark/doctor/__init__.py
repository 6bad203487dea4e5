"""Problems of a data set, found before anybody trains on it: `earmark doctor`.

Worker processes decode every clip once, at its own sample rate (`examination`); a file that crashes its decoder costs
one process, not the job. A journal keeps the facts about each clip as they come (`journal`), so that the same command
continues after a kill. The findings and the clean clips (`findings`) follow from these facts and the data set alone,
and the files (`report`) follow from the findings: an interrupted job ends in the same bytes as an uninterrupted one.
`checkup` does the whole job.
"""

"""Tags of very many recordings, by many processes on one machine or a cluster: `earmark bulk`.

The input alone decides how it is cut into parts (`parts`): rows of a listing, or row groups of Parquet files. One
worker does a part from end to end (`work`): it reads and scores the recordings and writes one Parquet file under the
part's name, completely or not at all. Only the description of a part and a line about its outcome pass through Ray
(`cluster`), no sounds and no results. `dispatch` does the whole job. From this follow:

- memory does not grow with the input;
- each result exists once, whichever worker did the part and however often it was begun;
- a worker that dies costs its part, which another worker does again;
- to resume is to leave out finished parts (`job` keeps a plan beside them, which every later call must match).
"""

"""Tags of very many recordings, by many processes on one machine or many: what `earmark bulk` does.

The input is cut into parts by itself alone (`parts`): rows of a listing, or row groups of Parquet files. A part is done
by one worker from end to end (`work`): read, heard, and written as one Parquet file under the part's name, whole or not
at all. What flows through Ray (`cluster`) is the description of a part in one direction and a line about it in the
other; no sound and no result does. From this follow, without further machinery:

- memory does not grow with the input;
- each result is there once, whoever did it and however often it was begun;
- a worker that dies costs the part that it had, which is done again by another;
- to resume is to leave out the parts that are there (`job` keeps a plan beside them, with which every call must agree).
"""

"""Any data set as a folder of sharded Parquet, at the rate that a network listens at: what `earmark pack` does.

Which clip lies in which shard, and in which place, follows from the clips' ids and a seed, for rows of Parquet also
from the row groups that they are in, which are read whole (`plan`). A shard is made by one process from end to end, one
clip in memory at a time, and gets its name when it is whole (`shard`). Processes stand side by side (`workers`), and
each finished shard leaves a line with its checksum (`ledger`). From these follow, without further machinery:

- the folder is the same to the byte, however many processes made it, and however often they were killed;
- to go on is to keep the shards whose checksums are right and to make the others, which is also how to mend one.
"""

from earmark.packing.plan import PackConfig
from earmark.packing.run import STRANGE, Check, Outcome, check, pack

__all__ = ["STRANGE", "Check", "Outcome", "PackConfig", "check", "pack"]

"""Any data set as a folder of sharded Parquet at a network's sample rate: `earmark pack`.

The place of each clip in the shards follows from the clips' ids and a seed (`plan`); for clips in Parquet files, also
from their row groups, which are read whole. One process makes a shard from end to end with one clip in memory at a time
(`shard`); the file gets its name when it is complete. Several processes work side by side, and each finished shard
leaves a line with its checksum (`ledger`). `assembly` does the whole job, `inspection` checks a pack.
From this follow:

- the folder is the same to the byte, whatever the number of processes and of interruptions;
- to continue, or to repair a pack, is to keep the shards with the right checksum and to make the others.
"""

from earmark.packing.assembly import Outcome, pack
from earmark.packing.inspection import STRANGE, Check, check
from earmark.packing.plan import PackConfig

__all__ = ["STRANGE", "Check", "Outcome", "PackConfig", "check", "pack"]

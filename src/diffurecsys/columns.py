"""Column names of the project's tables, in one place.

| table | columns |
|---|---|
| interactions | USER_ID string, ITEM_ID string, TIMESTAMP int64, ROW int64 (order of the file) |
| sequences | USER int32, ITEMS list<int32>, TIMESTAMPS list<int64>; one row a user, oldest interaction first |
| vocabularies | USER or ITEM int32 (0 … n-1), USER_ID or ITEM_ID string |
| examples | START int64, END int64: of all sequences laid end to end: history `items[START:END]`, target `items[END]` |
| ranks | USER int64, TARGET int64, RANK float64, N_TIED int64, HISTORY_LENGTH int64, TARGET_POPULARITY int64 |
| item popularity | ITEM int64, TRAINING_POPULARITY int64, POPULARITY int64 (all interactions) |
| history lengths | USER int64, HISTORY_LENGTH int64 (of the whole history before the test target) |
| history | EPOCH int64, loss, learning rate, seconds, examples a second, validation metrics |
"""

USER_ID = "user_id"
ITEM_ID = "item_id"
TIMESTAMP = "timestamp"
ROW = "row"

USER = "user"
ITEM = "item"
ITEMS = "items"
TIMESTAMPS = "timestamps"

START = "start"
END = "end"

TARGET = "target"
RANK = "rank"
N_TIED = "n_tied"
HISTORY_LENGTH = "history_length"
TARGET_POPULARITY = "target_popularity"

EPOCH = "epoch"

TRAINING_POPULARITY = "training_popularity"
POPULARITY = "popularity"

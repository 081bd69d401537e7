"""Column names of the project's tables, in one place.

| table | columns |
|---|---|
| interactions | USER_ID string, ITEM_ID string, TIMESTAMP int64, ROW int64 (order of the file) |
| sequences | USER int32, ITEMS list<int32>, TIMESTAMPS list<int64>; one row a user, oldest interaction first |
| both, split by time | PART int8 and PARTS list<int8> |
| item details | ITEM_ID string, title string, category string: what is known of items, missing where it is not |
| vocabularies | USER or ITEM int32 (0 … n-1), USER_ID or ITEM_ID string |
| ranks | USER, TARGET, GREATER, TIED, GREATER_UNSEEN, TIED_UNSEEN, HISTORY_LENGTH, TARGET_POPULARITY, all int64 |
| study_ranks | MODEL, SEED int64, SPLIT (test, validation), then as ranks; the sweeps' rankers included |
| study_cells | MODEL, SEED, then what is known of each cell: see `pipelines.study.nodes` |
| study_curves | MODEL, SEED, then as history |
| catalogue | ITEM int32, ITEM_ID string, TRAINING_POPULARITY int64, TITLE string where titles are known |
| recommendations | USER_ID, RANK int32 (1 is best), ITEM_ID, TITLE where known, SCORE float32, SOURCE |
| item popularity | ITEM int64, TRAINING_POPULARITY int64, POPULARITY int64 (all interactions) |
| history lengths | USER int64, HISTORY_LENGTH int64 (of the whole history before the test target) |
| history | EPOCH int64, loss, learning rate, seconds, labels a second, validation metrics |
"""

USER_ID = "user_id"
ITEM_ID = "item_id"
TIMESTAMP = "timestamp"
ROW = "row"
PART = "part"  # of a temporal split, see `diffurecsys.data.temporal`
HISTORY, TRAINING, VALIDATION_TARGET, TEST_TARGET = range(4)  # values of PART

USER = "user"
ITEM = "item"
ITEMS = "items"
TIMESTAMPS = "timestamps"
PARTS = "parts"

MODEL = "model"  # name of a ranker
SEED = "seed"
SPLIT = "split"
TEST = "test"  # values of SPLIT
VALIDATION = "validation"
SPLITS = (TEST, VALIDATION)

TARGET = "target"
GREATER = "greater"
TIED = "tied"
GREATER_UNSEEN = "greater_unseen"
TIED_UNSEEN = "tied_unseen"
HISTORY_LENGTH = "history_length"
TARGET_POPULARITY = "target_popularity"

TITLE = "title"
RANK = "rank"
SCORE = "score"
SOURCE = "source"

EPOCH = "epoch"

TRAINING_POPULARITY = "training_popularity"
POPULARITY = "popularity"

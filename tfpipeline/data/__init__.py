"""From files to batches of tokens: readers, splits, the token cache, the order of batches. NumPy only.

Letters in shapes: N rows of a data set, B rows of a batch, T positions.
"""

from tfpipeline.data.batches import batch_width, epoch_batches, evaluation_batches
from tfpipeline.data.cache import Encoding, TokenCache
from tfpipeline.data.examples import Example, Rows, read_examples, write_examples
from tfpipeline.data.loading import load_splits, read_data_file, text_key
from tfpipeline.data.readers import read_records
from tfpipeline.data.records import Record
from tfpipeline.data.splits import split_rows

__all__ = [
    "Encoding",
    "Example",
    "Record",
    "Rows",
    "TokenCache",
    "batch_width",
    "epoch_batches",
    "evaluation_batches",
    "load_splits",
    "read_data_file",
    "read_examples",
    "read_records",
    "split_rows",
    "text_key",
    "write_examples",
]

"""Where Keras files of version 0.1.0 look for BERT's encoder and its embeddings."""

from tfpipeline.models.architectures.bert.encoder import BertEncoder as BertEncoder
from tfpipeline.models.architectures.bert.encoder import Embeddings as Embeddings

"""Where Keras files made before architectures were found by name look for BERT's encoder and its embeddings."""

from tfpipeline.models.architectures.bert.encoder import BertEncoder as BertEncoder
from tfpipeline.models.architectures.bert.encoder import Embeddings as Embeddings

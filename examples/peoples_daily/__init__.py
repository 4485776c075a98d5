"""Names of people, places and organisations in Chinese news, from a BERT of random weights."""

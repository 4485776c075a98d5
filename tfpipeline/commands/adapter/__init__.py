"""Extract, inspect and merge adapters of parameter-efficient fine-tuning."""

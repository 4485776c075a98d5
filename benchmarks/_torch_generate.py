"""``generate`` of transformers, of a BERT in PyTorch that writes, in a process of its own.

    python -m benchmarks._torch_generate CONFIG PRECISION

CONFIG is a ``config.json`` of transformers, PRECISION a dtype of PyTorch; the weights are random. Reads lines
of JSON from standard input: the arguments of ``generate`` and ``input_ids`` [B, S]. Answers each with a line:
the number of tokens that were written.
"""

from __future__ import annotations

import json
import sys


def main() -> None:
    """Answer until the input ends."""
    import torch
    from transformers import BertConfig, BertLMHeadModel

    torch.manual_seed(0)
    config = BertConfig.from_json_file(sys.argv[1])
    config.is_decoder = True
    model = BertLMHeadModel(config).to(getattr(torch, sys.argv[2])).eval()
    print("ready", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        ids = torch.tensor(asked.pop("input_ids"))
        with torch.inference_mode():
            written = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, **asked)
        print(written.numel() - ids.numel(), flush=True)


if __name__ == "__main__":
    main()

"""Logits of a Hugging Face folder by transformers, in float32: live.py FOLDER IDS OUTPUT, raw little-endian floats.

On the GPU where torch has one, else on the CPU; attention is the plain one. Prints what computed.
"""
import json
import sys
from pathlib import Path


def configOf(text):
    """transformers 5 has the rope in `rope_parameters`; 4 looks for `rope_theta` and `rope_scaling`."""
    config = json.loads(text)
    rope = dict(config.get("rope_parameters") or {})
    if "rope_theta" in rope:
        config["rope_theta"] = rope.pop("rope_theta")
    if rope.get("rope_type", "default") != "default":
        config["rope_scaling"] = rope
    return config


def main(folder, ids, output):
    import torch
    import transformers

    torch.backends.cuda.matmul.allow_tf32 = False
    config = json.loads((Path(folder) / "config.json").read_text())
    if int(transformers.__version__.split(".")[0]) < 5:
        config = configOf(json.dumps(config))
    kind = config.pop("model_type")
    built = transformers.AutoConfig.for_model(kind, **config)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, config=built, attn_implementation="eager").float().eval().to(device)
    with torch.no_grad():
        logits = model(torch.tensor([[int(token) for token in ids.split(",")]], device=device)).logits[0].float().cpu().contiguous()
    values = bytes(logits.untyped_storage())[:4 * logits.numel()]
    Path(output).write_bytes(values)
    print(f"transformers {transformers.__version__}, torch {torch.__version__}, {device}")


if __name__ == "__main__":
    main(*sys.argv[1:])

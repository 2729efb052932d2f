"""Small models made on the spot: Hugging Face folders, a GGUF file, a tokenizer. Everything is a function of its seed."""
import json
from pathlib import Path

import gguf
import ml_dtypes
import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

ELEMENTS = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}

TEXT = (
    "The compiler reads a description of a model and writes the program that runs it. Once upon a time, in a small village "
    "by the sea, 1969 was a year like 42 others: it's not what they'd say. Ça va très bien, merci! Größe 7,5 km. "
    "Съешь же ещё этих мягких булок. 東京は日本の首都です。 🦙🚀 def f(n):\n    return n * (n - 1)\n\n\tend\n"
)


def llamaConfig(**overrides):
    """config.json of a small llama; `overrides` replace or (None) drop keys."""
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "bos_token_id": 1,
        "dtype": "float32",
        "eos_token_id": 2,
        "head_dim": 16,
        "hidden_act": "silu",
        "hidden_size": 64,
        "intermediate_size": 96,
        "max_position_embeddings": 128,
        "mlp_bias": False,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
        "tie_word_embeddings": False,
        "vocab_size": 320,
    }
    config.update(overrides)
    return {key: value for key, value in config.items() if value is not None}


def tensorShapes(config):
    """Hugging Face names and shapes of the tensors that a llama, qwen2, qwen3 or mistral config calls for."""
    hidden, inner, heads = config["hidden_size"], config["intermediate_size"], config["num_attention_heads"]
    kvHeads = config.get("num_key_value_heads") or heads
    headDim = config.get("head_dim") or hidden // heads
    kind = config["model_type"]
    shapes = {"model.embed_tokens.weight": (config["vocab_size"], hidden), "model.norm.weight": (hidden,)}
    if not config.get("tie_word_embeddings"):
        shapes["lm_head.weight"] = (config["vocab_size"], hidden)
    linears = {
        "self_attn.q_proj": (heads * headDim, hidden, kind == "qwen2" or config.get("attention_bias")),
        "self_attn.k_proj": (kvHeads * headDim, hidden, kind == "qwen2" or config.get("attention_bias")),
        "self_attn.v_proj": (kvHeads * headDim, hidden, kind == "qwen2" or config.get("attention_bias")),
        "self_attn.o_proj": (hidden, heads * headDim, config.get("attention_bias") and kind != "qwen2"),
        "mlp.gate_proj": (inner, hidden, config.get("mlp_bias")),
        "mlp.up_proj": (inner, hidden, config.get("mlp_bias")),
        "mlp.down_proj": (hidden, inner, config.get("mlp_bias")),
    }
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        shapes[prefix + "input_layernorm.weight"] = shapes[prefix + "post_attention_layernorm.weight"] = (hidden,)
        if kind == "qwen3":
            shapes[prefix + "self_attn.q_norm.weight"] = shapes[prefix + "self_attn.k_norm.weight"] = (headDim,)
        for name, (rows, width, bias) in linears.items():
            shapes[f"{prefix}{name}.weight"] = (rows, width)
            if bias:
                shapes[f"{prefix}{name}.bias"] = (rows,)
    return shapes


def drawWeights(config, seed):
    """Weights that keep activations near 1, so that a wrong mask, position or bias moves the logits far."""
    generator = np.random.default_rng(seed)
    weights = {}
    for name, shape in sorted(tensorShapes(config).items()):
        values = generator.standard_normal(shape)
        if name.endswith("norm.weight"):
            values = 1 + 0.2 * values
        elif name.endswith(".bias"):
            values = 0.3 * values
        elif name != "model.embed_tokens.weight" or config.get("tie_word_embeddings"):
            values = values / np.sqrt(shape[-1])
        weights[name] = values.astype(np.float32)
    return weights


def writeHuggingFace(folder, config, seed, *, element="float32", files=1, tokenizer=None):
    """A folder as `save_pretrained` writes it, in one `element` or a function of the tensor's name; `files` > 1 splits the weights, with an index."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    weights = {name: values.astype(ELEMENTS[elementOf(element, name)]) for name, values in drawWeights(config, seed).items()}
    names = sorted(weights)
    if files == 1:
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    else:
        index = {}
        for part in range(files):
            name = f"model-{part + 1:05}-of-{files:05}.safetensors"
            save_file({key: weights[key] for key in names[part::files]}, folder / name, metadata={"format": "pt"})
            index.update({key: name for key in names[part::files]})
        total = sum(values.nbytes for values in weights.values())
        (folder / "model.safetensors.index.json").write_text(
            json.dumps({"metadata": {"total_size": total}, "weight_map": index}, indent=2))
    if tokenizer is not None:
        (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=True))
    return folder


def smallTokenizer(size=320):
    """A byte-level BPE with the three usual special tokens, trained on TEXT."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator([TEXT] * 3, trainers.BpeTrainer(
        vocab_size=size, special_tokens=["<unk>", "<s>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False))
    return tokenizer


def permuteForGguf(weight, heads):
    """llama.cpp stores the q and k rows of llama models interleaved (convert_hf_to_gguf.py, LlamaModel.permute)."""
    rows = weight.shape[0]
    return weight.reshape(heads, 2, rows // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def storedMatrix(name, values, element, seed):
    """A matrix as a GGUF file stores it, and the values that a reader sees. What the package `gguf` cannot quantise to is drawn."""
    kind = gguf.GGMLQuantizationType[element]
    try:
        raw = gguf.quants.quantize(values, kind)
    except NotImplementedError:
        raw = drawBlocks(values.shape, kind, values.std(), np.random.default_rng([seed, *name.encode()]))
    return raw, gguf.quants.dequantize(raw, kind).astype(np.float64)


def drawBlocks(shape, kind, deviation, generator):
    """Blocks of random codes and scales whose values spread as wide as `deviation`."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    raw = generator.integers(0, 256, (shape[0], shape[1] // block, size), dtype=np.uint8)
    # Where the f16 scales stand in a block (ggml-common.h).
    places = {"Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,), "Q5_0": (0,), "Q5_1": (0, 2)}[kind.name]
    for place in places:
        ones = np.full(raw.shape[:2], 1.0, np.float16)
        raw[..., place:place + 2] = ones.view(np.uint8).reshape(*raw.shape[:2], 2)
    values = gguf.quants.dequantize(raw.reshape(shape[0], -1), kind)
    factor = deviation / values.std()
    for place in places:
        scales = (factor * generator.uniform(0.5, 1.5, raw.shape[:2])).astype(np.float16)
        raw[..., place:place + 2] = scales.view(np.uint8).reshape(*raw.shape[:2], 2)
    return raw.reshape(shape[0], -1)


def elementOf(element, name):
    """`element` is one for all matrices, or a function of the name."""
    return element(name) if callable(element) else element


def roundedWeights(config, seed, element):
    """What a reader of writeGguf's file sees: weights rounded to `element`, norms exact; float64."""
    weights = {}
    for name, values in drawWeights(config, seed).items():
        own = elementOf(element, name)
        if values.ndim == 1 or own == "F32":
            weights[name] = values.astype(np.float64)
            continue
        order = ggufOrder(config, name, values)
        weights[name] = np.empty(values.shape)
        weights[name][order] = storedMatrix(name, values[order], own, seed)[1]
    return weights


def ggufOrder(config, name, values):
    """Which row of a matrix stands where in the file."""
    order = np.arange(values.shape[0])
    if ".q_proj." in name or ".k_proj." in name:
        return permuteForGguf(order, config["num_attention_heads"] if ".q_proj." in name else config["num_key_value_heads"])
    return order


def writeGguf(path, config, seed, *, element="Q8_0", tokenizer=None, shards=None):
    """A llama as llama.cpp's converter writes it: linears in `element`, norms in F32; `shards`: how GGUFWriter splits it."""
    writer = gguf.GGUFWriter(str(path), "llama", **(shards or {}))
    writer.add_name("small llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    if tokenizer is not None:
        model = json.loads(tokenizer.to_str())["model"]
        tokens = sorted(model["vocab"], key=model["vocab"].get)
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_list(tokens)
        writer.add_token_types([gguf.TokenType.CONTROL if token in ("<unk>", "<s>", "</s>") else gguf.TokenType.NORMAL
                                for token in tokens])
        writer.add_token_merges([" ".join(merge) for merge in model["merges"]])
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_add_bos_token(False)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    for name, values in drawWeights(config, seed).items():
        stored, own = names.get_name(name, try_suffixes=(".weight", ".bias")), elementOf(element, name)
        values = values[ggufOrder(config, name, values)]
        if values.ndim == 1 or own == "F32":
            writer.add_tensor(stored, values)
        else:
            raw, _ = storedMatrix(name, values, own, seed)
            writer.add_tensor(stored, raw, raw_dtype=gguf.GGMLQuantizationType[own])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return Path(path)

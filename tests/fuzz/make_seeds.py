#!/usr/bin/env python3
"""Writes the seeds of the fuzz harnesses: make_seeds.py [directory]. Small valid files, and files that are nearly valid."""
import json
import pathlib
import struct
import sys

OUT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent / "seeds")


def write(name, content):
    path = OUT / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def compact(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def safetensors(header, data=b"", pad=True):
    text = (header if isinstance(header, str) else compact(header)).encode()
    if pad:
        text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def tensor(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def safetensors_seeds():
    two = {"__metadata__": {"format": "pt"}, "a": tensor("BF16", [2], 0, 4), "b": tensor("F32", [], 4, 8)}
    data = bytes.fromhex("803f00c00000003f")
    write("safetensors/two_tensors", safetensors(two, data))
    write("safetensors/odd_address", safetensors(two, data, pad=False))
    write("safetensors/truncated", safetensors(two, data)[:-2])
    write("safetensors/appended", safetensors(two, data) + b"PK")
    write("safetensors/no_tensors", safetensors("\t\n{} "))
    write("safetensors/zero_byte_after_header", safetensors("{}\0{}", pad=False))
    write("safetensors/empty_tensors", safetensors({"a": tensor("F32", [2, 0], 0, 0), "b": tensor("U8", [0, 2**64 - 1], 0, 0)}))
    write("safetensors/wrapping_shape", safetensors({"a": tensor("U8", [2, 2**64 - 2], 0, 4)}, b"1234"))
    write("safetensors/same_range", safetensors({str(i): tensor("F32", [2, 2], 0, 16) for i in range(10)}, bytes(16)))
    write("safetensors/every_dtype", safetensors(
        {f"t{i}": tensor(d, [0], 0, 0) for i, d in enumerate(
            "BOOL U8 I8 F8_E4M3 F8_E5M2 F8_E8M0 F8_E4M3FNUZ F8_E5M2FNUZ I16 U16 F16 BF16 I32 U32 F32 I64 U64 F64 C64 F4 F6_E2M3 F6_E3M2".split())}))
    write("safetensors/twice", safetensors('{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"\\u0061":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'))
    write("safetensors/numbers", safetensors('{"a":{"dtype":"U8","shape":[4.0],"data_offsets":[-0,1e3]}}'))
    write("safetensors/huge_header", struct.pack("<Q", 2**64 - 1) + b"{}")
    write("safetensors/deep", safetensors("[" * 200))
    write("safetensors/name", safetensors('{"../\\u0085\u00e9":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'))


def shard_index_seeds():
    good = {"metadata": {"total_parameters": 4, "total_size": 8},
            "weight_map": {"lm_head.weight": "model-00002-of-00002.safetensors", "model.norm.weight": "model-00001-of-00002.safetensors"}}
    write("shard_index/two_shards", json.dumps(good, indent=2))
    write("shard_index/no_metadata", compact({"weight_map": {"a": "model.safetensors"}}))
    write("shard_index/path", compact({"weight_map": {"a": "../model.safetensors"}}))
    write("shard_index/odd_sizes", compact({"metadata": {"total_size": 8.0, "x": [{"total_size": 1}]}, "weight_map": {"a": "m.safetensors"}}))
    write("shard_index/twice", '{"weight_map":{"a":"m.safetensors","a":"n.safetensors"}}')
    write("shard_index/list", compact({"weight_map": ["m.safetensors"]}))
    write("shard_index/byte_order_mark", "\ufeff" + compact(good))


def config_seeds():
    base = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336,
            "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "rms_norm_eps": 1e-5,
            "hidden_act": "silu", "max_position_embeddings": 8192, "rope_theta": 500000.0, "rope_scaling": None,
            "tie_word_embeddings": False, "attention_bias": False, "torch_dtype": "bfloat16", "bos_token_id": 128000, "eos_token_id": 128001}
    llama3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
    write("config/llama3_8b", json.dumps(base, indent=2))
    write("config/llama31", compact({**base, "rope_scaling": llama3, "eos_token_id": [128001, 128008, 128009]}))
    write("config/llama32", compact({**base, "rope_scaling": {**llama3, "factor": 32.0}, "head_dim": 64, "tie_word_embeddings": True}))
    new = {k: v for k, v in base.items() if not k.startswith("rope")}
    write("config/rope_parameters", compact({**new, "rope_parameters": {"rope_theta": 500000.0, **llama3}}))
    write("config/disagree", compact({**base, "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}}))
    write("config/float_sizes", compact({**base, "hidden_size": 4096.0, "num_hidden_layers": 1.5}))
    write("config/huge", compact({**base, "hidden_size": 2**63, "vocab_size": 1e300}))
    write("config/zero", compact({**base, "num_key_value_heads": 0, "head_dim": 0}))
    write("config/negative", compact({**base, "rms_norm_eps": -1, "rope_theta": -0.0}))
    write("config/types", compact({**base, "hidden_size": "4096", "rope_scaling": [], "tie_word_embeddings": 1}))
    write("config/text", compact({**base, "hidden_act": "ge\nlu", "model_type": "lla\u0000ma"}))
    write("config/rope_type_text", compact({**base, "rope_scaling": {**llama3, "rope_type": "ya\nrn"}}))
    write("config/twice", '{"model_type":"llama","model_type":"llama"}')
    write("config/zero_byte", compact(base).encode() + b"\0x")
    write("config/quantized", compact({**base, "quantization_config": {"bits": 4}}))
    write("config/deep", '{"a":' + "[" * 1000)


PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def byte_letters():
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters, extra = {b: chr(b) for b in printable}, 0x100
    for b in range(256):
        if b not in letters:
            letters[b], extra = chr(extra), extra + 1
    return printable, letters


def tokenizer_file(pairs=True):
    """256 bytes, 40 merges, 4 specials: 300 tokens."""
    printable, letters = byte_letters()
    order = printable + [b for b in range(256) if b not in printable]
    vocab = {letters[b]: i for i, b in enumerate(order)}
    words = ["the", " the", "he", " t", "in", " in", " a", " an", "and", " and", "re", "er", "ing", " w", " wo", "wor", "ord", " word", "12", "123"]
    merges = []
    for word in words + ["ab" * k for k in range(1, 20)] + ["\n\n", "  ", "é", "日", "本"]:
        parts = [letters[b] for b in word.encode()]
        while len(parts) > 1 and len(merges) < 40:
            pair = (parts[0], parts[1])
            if "".join(pair) not in vocab:
                vocab["".join(pair)] = len(vocab)
                merges.append(pair)
            parts[:2] = ["".join(pair)]
    names = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|reserved_special_token_0|>"]
    bos = {"SpecialToken": {"id": names[0], "type_id": 0}}
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": len(vocab) + i, "content": n, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
                          "special": True} for i, n in enumerate(names)],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]},
        "post_processor": {"type": "Sequence", "processors": [
            {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True},
            {"type": "TemplateProcessing", "single": [bos, {"Sequence": {"id": "A", "type_id": 0}}],
             "pair": [bos, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
             "special_tokens": {names[0]: {"id": names[0], "ids": [len(vocab)], "tokens": [names[0]]}}}]},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False, "ignore_merges": True, "vocab": vocab,
                  "merges": [list(m) if pairs else " ".join(m) for m in merges]},
    }


def tokenizer_seeds():
    def changed(name, change, pairs=True):
        value = tokenizer_file(pairs)
        change(value)
        write("tokenizer/" + name, compact(value))

    changed("pairs", lambda t: None)
    changed("strings", lambda t: None, pairs=False)
    changed("no_bos", lambda t: t.update(post_processor={"type": "ByteLevel"}))
    changed("no_ignore_merges", lambda t: t["model"].pop("ignore_merges"))
    changed("normalizer", lambda t: t.update(normalizer={"type": "NFC"}))
    changed("huge_special_id", lambda t: t["added_tokens"][0].update(id=2**31 - 1))
    changed("negative_special_id", lambda t: t["added_tokens"][0].update(id=-1))
    changed("special_over_vocab", lambda t: t["added_tokens"][0].update(id=0))
    changed("empty_special", lambda t: t["added_tokens"][0].update(content=""))
    changed("missing_bytes", lambda t: t["model"].update(vocab={"a": 0, "b": 1}, merges=[]))
    changed("unknown_merge", lambda t: t["model"]["merges"].append(["zz", "zz"]))
    changed("huge_token_id", lambda t: t["model"]["vocab"].update(zzz=2**40))
    changed("same_id", lambda t: t["model"]["vocab"].update(zzz=0))
    changed("letter_outside_the_alphabet", lambda t: t["model"]["vocab"].update({"\u4e00": 296}))
    changed("other_model", lambda t: t["model"].update(type="WordPiece"))
    write("tokenizer/cut", compact(tokenizer_file())[:3000])


def sweep_seeds():
    head = 'name = "demo"\nmodel = "model"\noutput = "runs/demo"\n\n[data]\ndir = "data"\n\n'
    calibration = '[calibration]\ndata = "c4"\nwindows = 16\nlength = 128\nseed = 0\nshards = 16\n\n'
    evaluation = '[evaluation]\nperplexity = ["wikitext2", "c4", "ptb"]\nlength = 128\n\n'
    grid = '[[grid]]\nmethod = "gptq"\nbits = [8, 4, 3, 2]\ngroup = [128, -1]\n\n[[grid]]\nmethod = ["rtn", "fp16"]\nbits = 4\n\n'
    run = '[run]\nstages = "auto"\nreplicas = "auto"\nthreads = 2\ndevice = "cpu"\nmemory = "20GiB"\ndeadline = "10min"\nreproducible = false\nkeep = "all"\n'
    whole = head + calibration + evaluation + grid + run
    write("sweep/whole", whole)
    write("sweep/least", 'name = "a"\nmodel = "m"\noutput = "o"\n[data]\ndir = "d"\n[evaluation]\nperplexity = ["c4"]\n[[grid]]\nmethod = "rtn"\nbits = 4\n')
    write("sweep/fp16", head + evaluation + '[[grid]]\nmethod = "fp16"\n')
    write("sweep/misspelt", whole.replace("windows", "windos"))
    write("sweep/twice", whole.replace("seed = 0", "seed = 0\nseed = 1"))
    write("sweep/same_cell", whole + '\n[[grid]]\nmethod = "gptq"\nbits = 4\ngroup = 128\n')
    write("sweep/types", whole.replace("windows = 16", 'windows = "16"').replace("seed = 0", "seed = 0.5"))
    write("sweep/large_product", head + '[[grid]]\nmethod = "gptq"\nbits = [' + ", ".join("4" for _ in range(300)) + "]\ngroup = ["
          + ", ".join(str(8 * i) for i in range(1, 300)) + "]\ndamping = [" + ", ".join(str(i / 1000) for i in range(1, 300)) + "]\n")
    write("sweep/units", whole.replace("20GiB", "99999999999GiB").replace("10min", "1e400 s"))
    write("sweep/numbers", whole.replace("windows = 16", "windows = 9223372036854775807").replace("length = 128", "length = -1"))
    write("sweep/text", whole.replace('"demo"', '"de\\nmo \\u00e9"').replace('"runs/demo"', "'''runs\ndemo'''"))
    write("sweep/deep", "a = " + "[" * 300)


for make in (safetensors_seeds, shard_index_seeds, config_seeds, tokenizer_seeds, sweep_seeds):
    make()

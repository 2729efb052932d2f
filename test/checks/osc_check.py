#!/usr/bin/env python3
"""OSC-Transformers' configs, unchanged: imported, counted, and decoder.cfg compiled whole with random weights in bounded memory."""
import tempfile
from pathlib import Path

from harness import DATA, MIB, expect, expectEqual, main, scratch

PARAMETERS = 751_632_384


def imported(lathe, name, norm):
    with tempfile.TemporaryDirectory(dir=scratch(lathe.work)) as folder:
        toml = lathe.run("import", DATA / "osc" / name).expect(0).text
        expect(f'norm_type = "{norm}"' in toml or norm == "rms", f"norm_type {norm} is not in the TOML:\n{toml}")
        for key, value in {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16,
                           "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936}.items():
            expect(f"\n{key} = {value}\n" in "\n" + toml, f"{key} = {value} is not in the TOML:\n{toml}")
        again = Path(folder) / "again.toml"
        again.write_text(toml)
        expectEqual(lathe.run("import", again).expect(0).text, toml, "import of the printed TOML")


def unknownNormalization(lathe):
    with tempfile.TemporaryDirectory(dir=scratch(lathe.work)) as folder:
        file = Path(folder) / "odd.cfg"
        text = (DATA / "osc" / "decoder.cfg").read_text()
        file.write_text(text.replace('@normalization = "RMSNorm"', '@normalization = "PowerNorm"')
                        .replace('@normalization = "LayerNorm"', '@normalization = "PowerNorm"'))
        message = lathe.run("import", file).expect(3).stderr
        for part in ("odd.cfg", "PowerNorm", "RMSNorm", "LayerNorm"):
            expect(part in message, f"the error does not say {part}: {message}")


def whole(lathe):
    with tempfile.TemporaryDirectory(dir=scratch(lathe.work)) as folder:
        artifact = Path(folder) / "decoder.lathe"
        made = lathe.compile(DATA / "osc" / "decoder.cfg", artifact, "--weights", "random:0", "--quant", "int8", timeout=1200)
        made.expect(0)
        size = artifact.stat().st_size
        counted = lathe.run("inspect", artifact).expect(0).text
        for where, text in (("the summary of compile", made.stderr), ("inspect", counted)):
            expect(str(PARAMETERS) in text.replace(",", "").replace("_", ""), f"{where} does not report {PARAMETERS:,} parameters:\n{text}")
        expect(size >= PARAMETERS, f"the artifact has {size} bytes for {PARAMETERS} 8-bit parameters")
        figures = f"compiled in {made.seconds:.0f} s, peak {made.peak / MIB:.0f} MiB = {made.peak / size:.2f} x {size / MIB:.0f} MiB"
        expect(made.peak <= 2.5 * size, f"{figures}, allowed 2.5 x")
        ids = lathe.generate(artifact, "--ids", "1,2,3", "-n", 4, "--ignore-eos", "-c", 128)["ids"]
        expectEqual(len(ids), 4, "number of new ids")
        expect(all(0 <= token < 151936 for token in ids), f"ids {ids} are outside of the vocabulary")
        return figures


def fill(suite, lathe, args):
    for name in ("decoder.cfg", "readme_model.cfg", "build_decoder_literal_2.cfg"):
        # Which norm a file means stands in the file itself: RMSNorm, or the LayerNorm its user registered.
        norm = "layer" if "LayerNorm" in (DATA / "osc" / name).read_text() else "rms"
        suite.add(f"import/{name}", imported, lathe, name, norm)
    suite.add("import/unknown normalization", unknownNormalization, lathe)
    suite.add("decoder.cfg whole", whole, lathe, slow=True)


if __name__ == "__main__":
    main(__doc__, fill)

"""lofit from Python, cell by cell: run it as a script, or open it as a notebook.

python docs/walkthrough.py [SETTINGS]    settings of the model, as on the command line; SmolLM2-135M without any
"""

# %% A stage is a function. It takes the settings of the command line and returns its run directory.
import sys

import lofit_cli

settings = [*sys.argv[1:], "task=truthfulqa", "task.data_dir=sample"]
heads = lofit_cli.select_heads(*settings, "selector=random", "num_heads=8")
trained = lofit_cli.train_offsets(*settings, f"head_mask={heads}", "trainer.learning_rate=0.01", "trainer.num_epochs=2")

# %% Measure without and with the offsets, and compare.
runs = [lofit_cli.evaluate(*settings, f"intervention={name}") for name in ("none", trained)]
report = lofit_cli.compare(f"runs={[str(run) for run in runs]}") / "report.html"
print(report)

# %% What was learnt is an ordinary torch module: an offset for each head.
lm = lofit_cli.load_model(lofit_cli.model_of(trained))
edit, about = lofit_cli.load_intervention(trained, lm)
for (layer, head), offset in zip(edit.heads, edit.offset, strict=True):
    print(f"layer {layer}, head {head}: an offset of length {float(offset.detach().norm()):.3f}")

# %% It acts inside a `with` block, and is gone after it.
question = "Q: Can penguins fly?\nA:"
base, edited = (lofit_cli.generate(lm, question, given, max_new_tokens=16) for given in (None, edit))
with edit.attach(lm):
    inside = lm.generate(question, max_new_tokens=16)
after = lm.generate(question, max_new_tokens=16)
print(f"base: {base[0]}\nedited: {edited[0]}")
print(f"the same inside the block: {inside == edited}; gone after it: {after == base}")

# %% Take it away as a checkpoint of stock transformers, once a fresh process has computed the same with it.
lofit_cli.export(f"intervention={trained}", "to=hf", "out=walkthrough-model")

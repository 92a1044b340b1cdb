"""Where the stages leave things for one another, relative to the folder that holds params.yaml."""

from pathlib import Path

PARAMS = Path("params.yaml")

TORCHVISION = Path("data/torchvision")  # what torchvision:NAME downloads
PREPARED = Path("data/prepared")
IMAGES = PREPARED / "images.npy"  # uint8 [N, H, W, C]
LABELS = PREPARED / "labels.npy"  # int64 [N]
MANIFEST = PREPARED / "manifest.json"

RUNS = Path(".runs")
PREPARED_STAMP = RUNS / "prepared.json"  # from what the prepared data was made
UNPACKED = RUNS / "unpacked"  # scratch space of `preprocess`
GENERATOR_WEIGHTS = Path("models/generator.pt")  # what `train` hands to `export`
MODEL = Path("models/generator.onnx")

TRAIN_REPORT = Path("reports/train")
SHEETS = Path("reports/samples")
METRICS = Path("reports/metrics.json")
EVALUATION_SHEET = Path("reports/real-and-generated.png")

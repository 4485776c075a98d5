"""Package metadata. The version is read from the package without importing it."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(
    r'^__version__ = "([^"]+)"', (HERE / "tfpipeline" / "__init__.py").read_text("utf-8"), re.MULTILINE
).group(1)

# Keras 3.15 and scikit-learn 1.9 start at Python 3.11; the thin client and the
# command line run from 3.9, so python_requires says 3.9 and the heavy extras carry a marker.
HEAVY = "; python_version >= '3.11'"

# Lower bounds are the versions the tests have run with.
BASE = [
    "numpy>=1.24",
    "grpcio>=1.62",
    "protobuf>=4.25,<8",
    "typer>=0.12",
    "rich>=13.7",
]
TRAIN = [
    "tensorflow~=2.21.0",
    "keras>=3.15,<4",
    "tensorboard>=2.20",  # TensorFlow no longer brings it, and its summaries are made by it
    "safetensors>=0.8",
    "huggingface_hub>=2.4,<3",
    "scikit-learn>=1.9",
    "seqeval>=1.2.2",
    "matplotlib>=3.10",
    "pydantic>=2.14,<3",
    "PyYAML>=6.0.3",
    "pyarrow>=26.0",
    "ml_dtypes>=0.6.0",  # bfloat16 in NumPy
    "transformers>=5.23,<6",  # the reference that a checkpoint's tokenizer is compared with; works without it
]
EXCEL = ["openpyxl>=3.1.5"]
BM25 = ["bm25s>=0.3.16"]  # a search by words, to compare with
INDEX = ["faiss-cpu>=1.15.1"]  # clusters the rows of indexes that are too large for exact search
CHINESE = ["jieba>=0.42.1"]  # the words that masked_lm masks whole
GENERATION = ["rouge-score>=0.1.2", "sacrebleu>=2.6,<3"]  # scores of written texts
# The TPU build of TensorFlow is a package of its own, one version behind.
TPU = ["tensorflow-tpu~=2.20.0", *(name for name in TRAIN if not name.startswith("tensorflow~"))]
SERVE = [
    "tensorflow~=2.21.0",
    "tensorflow-serving-api~=2.21.0",
    "grpcio-health-checking>=1.85",
    "grpcio-reflection>=1.85",
    "prometheus_client>=0.26",
    "uvicorn>=0.54",  # REST and metrics; it needs h11 and click only
]
TELEMETRY = ["opentelemetry-instrumentation-grpc>=0.66b2"]  # traces of the client's calls
DEV = [
    *TELEMETRY,
    *CHINESE,
    "opentelemetry-sdk>=1.45",
    "pytest>=9.1",
    "pytest-xdist>=3.8",  # tests run on two cores
    "pytest-timeout>=2.4",
    "pytest-cov>=7.1",
    "hypothesis>=6.170",
    "regex>=2026.11.19",  # the properties of Unicode 18, and another implementation of its UAX #29
    "tf_keras~=2.21.0",  # Keras 2, for bert4keras, which reads what we write
    "ruff>=0.17,<0.18",
    "mypy>=2.4,<3",
    "import-linter>=2.16,<3",
    "griffelib>=2.4",  # reads docstrings for docs/api.md
    "types-PyYAML>=6.0.12",
    "kubernetes-validate>=1.37",  # the schemas of Kubernetes' releases
    "jsonschema>=4.26",
    "types-jsonschema>=4.26",
    "fastapi>=0.165",  # the recipe in docs/deployment.md
    "httpx>=0.28",  # FastAPI's test client
]


def heavy(*requirements):
    return [requirement + HEAVY for group in requirements for requirement in group]


setup(
    name="tfpipeline",
    version=VERSION,
    description="A BERT checkpoint becomes a served endpoint: convert, train, evaluate, export, serve, "
    "predict",
    long_description=(HERE / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    # "." and not nothing: an editable install is then a path, which type checkers and editors follow, and no
    # finder.
    package_dir={"": "."},
    packages=find_packages(include=["tfpipeline", "tfpipeline.*"]),
    package_data={"tfpipeline": ["py.typed"], "tfpipeline.text": ["*.npz"], "tfpipeline.export": ["*.xz"]},
    python_requires=">=3.9",
    install_requires=BASE,
    extras_require={
        "train": heavy(TRAIN),
        "tpu": heavy(TPU),
        "excel": EXCEL,  # reading .xlsx files
        "bm25": BM25,  # a comparison in the report of the task similarity
        "index": heavy(INDEX),
        "chinese": CHINESE,
        "generation": GENERATION,  # scores of the task generation
        "telemetry": TELEMETRY,
        "serve": heavy(SERVE),
        "dev": heavy(DEV),
        "all": heavy(TRAIN, EXCEL, BM25, INDEX, CHINESE, GENERATION, SERVE, DEV),
    },
    entry_points={"console_scripts": ["tfpipeline = tfpipeline.__main__:main"]},
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)

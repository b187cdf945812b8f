from .decoding import ChunkInfo as ChunkInfo
from .decoding import Shape as Shape
from .decoding import check_samples as check_samples
from .decoding import check_shape as check_shape
from .decoding import decode as decode
from .decoding import encode as encode
from .decoding import inspect as inspect

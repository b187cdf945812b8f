from .chunk import ChunkInfo as ChunkInfo
from .chunk import inspect as inspect
from .codec import TecCodec as TecCodec
from .errors import CorruptChunk as CorruptChunk
from .errors import InvalidInput as InvalidInput
from .errors import MissingExtra as MissingExtra
from .errors import TecError as TecError
from .errors import UnsupportedFormat as UnsupportedFormat
from .errors import WeightsError as WeightsError
from .options import get_options as get_options
from .options import set_options as set_options
from .sensors import get_sensor as get_sensor
from .zarr3 import TecSerializer as TecSerializer

__version__: str

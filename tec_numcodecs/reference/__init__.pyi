from .decoder import Header as Header
from .decoder import WeightsFile as WeightsFile
from .decoder import decode as decode
from .decoder import decode_symbols as decode_symbols
from .decoder import load_weights as load_weights
from .decoder import read_header as read_header
